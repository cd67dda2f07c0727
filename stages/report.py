"""Write the model for people: the page `reports/model.html`, and the card `reports/README.md`.

The page has the plots of `dvc.yaml`, and needs no network, framework or server.
"""

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from stages.columns.inputs import parse
from stages.predictor import document
from stages.predictor.card import list_facts, list_scores, list_weights, make_card
from stages.predictor.document import GAPS, PROOF, Predictor
from stages.predictor.payload import pack
from stages.project import cli, files, params
from stages.project.cli import InputError, plural

PLOTS = ("reports/plots/predictions.csv", "Residuals", "reports/plots/weights.csv")  # of dvc.yaml
# vl-convert brings the first font; where the page is seen without it, the second is as wide
FONT = "Liberation Sans, Arial, sans-serif"
LOOK = {"aria": False, "background": None, "font": FONT, "point": {"size": 14, "strokeWidth": 1}}


def drop_revision(node: dict[str, Any]) -> dict[str, Any]:
    """Drop the channels that tell revisions apart: there is one, and its legend is noise."""
    return {k: v for k, v in node.items() if not isinstance(v, dict) or v.get("field") != "rev"}


def draw_plots() -> dict[str, str]:
    """Return the plots of all test rows and of the weights as SVG, by title."""
    with cli.requiring("page"):
        from vl_convert import vegalite_to_svg
    command = [sys.executable, "-m", "dvc", "plots", "show", "--json", *PLOTS]
    done = subprocess.run(command, capture_output=True)  # noqa: S603
    found = json.loads(done.stdout or "{}", object_hook=drop_revision)
    if not found.get("data") or found.get("errors"):  # which DVC does not fail for
        reason = done.stderr.decode(errors="replace").strip()
        raise InputError(f"DVC shows no plots, whose data `dvc repro` makes: {reason}")
    plots = [found["data"][name][0]["content"] for name in PLOTS]
    return {plot.pop("title")["text"]: vegalite_to_svg(plot, config=LOOK) for plot in plots}


def make_page(
    model: Predictor,
    scores: dict[str, Any],
    coefficients: Sequence[dict[str, str]],
    weights: Sequence[tuple[float, float]],
    sample: Mapping[str, float | str | None],
    plots: Mapping[str, str],
    unit: str | None,
) -> str:
    """Return the page of a predictor; its inputs start at `sample`, a row with `actual`.

    `coefficients` has coefficients.csv, `weights` each feature's float weight and training mean.
    """
    kinds, payload, found = model.schema.kinds, pack(model), scores["quantization"]
    train = scores["quantized"]["train"]
    *_, (part, r2, _, _, mae) = list_scores(scores["quantized"])
    data = {"predictor": model, "weights": weights, "intercept": scores["intercept"]["float"]}
    data |= {"start": sample, "std": train["std"], "half_widths": scores.get("half_widths")}
    rated = (
        [f"{name}, {part}", *cells]
        for kind, name in (("float", "float"), ("quantized", f"{model.bits}-bit codes"))
        for part, *cells in list_scores(scores[kind])
    )
    figures = (
        f'<figure tabindex="0">\n<figcaption>{escape(title)}</figcaption>\n{svg}\n</figure>\n'
        for title, svg in plots.items()
    )
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    texts = {
        "target": model.target,
        "unit": unit or "",
        "measured": f", in {unit}," if unit else "",
        "bits": model.bits,
        "columns": f"{plural(len(kinds), 'column')} of {model.dataset}",
        "proof": PROOF[found["optimal"]],
        "size": len(payload),
        "part": part,
        "explained": f"{100 * float(r2):.1f} %",
        "mae": f"{float(mae):,.6g}",
        "means": f"{train['mean']:,.6g}",  # of the predictions: the model is linear
        "gaps": GAPS[model.missing],
        "facts": " ".join(f"{fact[0].upper()}{fact[1:]}." for fact in list_facts(scores)),
        "last": 2**model.bits - 1,
        "payload": payload.hex(" "),
        "digest": scores["predictor"],
        "policy": make_policy(template),
    }
    escaped = {key: escape(str(value)) for key, value in texts.items()}
    escaped |= {"scores": write_rows(rated), "plots": "".join(figures)}
    escaped["coefficients"] = write_rows(map(dict.values, coefficients))
    escaped["weights"] = write_rows(list_weights(model, coefficients))
    # nothing but "<" could end the script that holds it
    escaped["model"] = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    return Template(template).substitute(escaped)


def parse_cell(cell: str, kind: str) -> float | str | None:
    """Return a cell of predictions.csv as the page's script has it."""
    value = json.loads(cell or "null") if kind in ("number", "boolean") else cell or None
    return parse(value, kind)


def make_policy(template: str) -> str:
    """Allow the style and the script of the page by their hashes, and nothing else."""
    own = re.findall(r"<(style|script)>(.*?)</\1>", template, re.DOTALL)
    hashes = ((name, b64encode(sha256(it.encode()).digest()).decode()) for name, it in own)
    allowed = "".join(f"{name}-src 'sha256-{code}'; " for name, code in hashes)
    return f"default-src 'none'; {allowed}img-src data:; base-uri 'none'"


def write_rows(rows: Iterable[Iterable[str]]) -> str:
    cells = (map(escape, row) for row in rows)
    return "".join(
        f'<tr><th scope="row">{first}</th><td>{"</td><td>".join(rest)}</td></tr>\n'
        for first, *rest in cells
    )


def main() -> str:
    model, scores = document.load(files.PREDICTOR), document.load_scores()
    unit = params.read().report.unit
    path = files.PLOTS / "weights.csv"
    with files.reading(path):
        rows = [row for row in files.load_csv(path) if row["model"] == "float"]
        weights = [(float(row["weight"]), float(row["mean"])) for row in rows]
    path = files.PREDICTIONS
    with files.reading(path):
        kinds, cells = {**model.schema.kinds, "actual": "number"}, files.load_csv(path)[0]
        sample = {name: parse_cell(cells[name], kind) for name, kind in kinds.items()}
    coefficients, plots = files.load_csv(files.COEFFICIENTS), draw_plots()
    with files.reading(files.SCORES.parent):
        text = make_page(model, scores, coefficients, weights, sample, plots, unit)
        made = {files.PAGE: text, files.CARD: make_card(model, scores, coefficients, unit)}
    for path, text in made.items():
        with files.replacing(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
    return " and ".join(path.as_posix() for path in made)


if __name__ == "__main__":
    cli.run(main, __doc__)
