"""Write the model for people: the page `reports/model.html`, and the card `reports/README.md`.

The page needs no network or server. Nor does `dvc_plots/index.html`, which has all plots.
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
from stages.predictor import card, document
from stages.predictor.document import Predictor
from stages.predictor.payload import pack
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.regression import inference

PLOTS = ("reports/plots/predictions.csv", "Residuals")  # of dvc.yaml, on the page
PICTURES = ("reports/plots/predictions.csv", "reports/coefficients.csv")  # of the README
WEIGHTS = ("weight", "mean", "p1", "p99")
# vl-convert brings the first font; where the page is seen without it, the second is as wide
FONT = "Liberation Sans, Arial, sans-serif"
ALL = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{}</title><style>figure {{ display: inline-block; font: 1rem sans-serif }}</style>
{}"""
LOOK = {"aria": False, "background": "white", "font": FONT}


def draw_plots(target: str, unit: str) -> dict[str, tuple[str, str]]:
    """Return each plot that DVC shows, by its name in `dvc.yaml`, as its title and SVG."""

    def prepare(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(title := node.get("title"), str):
            node["title"] = title.replace("target", named).split("\n")
        # drop the channels that tell revisions apart: there is one, and its legend is noise
        return {k: v for k, v in node.items() if not isinstance(v, dict) or v.get("field") != "rev"}

    with cli.requiring("page"):
        from vl_convert import vegalite_to_svg
    named = f"{target}\n({unit})" if unit else target
    command = [sys.executable, "-m", "dvc", "plots", "show", "--json"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")  # noqa: S603
    found = json.loads(done.stdout or "{}", object_hook=prepare).get("data", {})
    parts = ((name, it) for name, them in found.items() for it in them[:1])
    plots = {name: it["content"] for name, it in parts if "content" in it}  # no picture of a file
    if not plots.keys() >= {*PLOTS, *PICTURES}:  # which DVC does not fail for
        raise InputError(f"DVC shows no plots, whose data `dvc repro` makes: {done.stderr.strip()}")
    titles = [plot.pop("title")["text"] for plot in plots.values()]
    drawn = (vegalite_to_svg(plot, config=LOOK) + "\n" for plot in plots.values())
    much = r'(\.\d)\d+(?=[^<>]*>)| (?:aria-\w+|role)="[^"]*"'  # tenths of a pixel are enough
    short = (re.sub(much, r"\1", svg) for svg in drawn)
    return dict(zip(plots, zip(titles, short, strict=True), strict=True))


def make_page(
    model: Predictor,
    scores: dict[str, Any],
    coefficients: Sequence[dict[str, str]],
    weights: Sequence[Sequence[float]],
    rows: Sequence[Mapping[str, float | str | None]],
    plots: Mapping[str, str],
    doubts: Iterable[str],
    unit: str,
) -> str:
    """Return the page of a predictor; its inputs start at the first of `rows`, with `actual`.

    `coefficients` has coefficients.csv, `weights` each feature's `WEIGHTS` of weights.csv.
    """
    train = scores["quantized"]["train"]
    *_, (part, r2, _, _, mae) = card.list_scores(scores["quantized"])
    data = {"predictor": model, "weights": weights, "intercept": scores["intercept"]["float"]}
    data |= {"rows": rows, "std": train["std"], "half_widths": scores.get("half_widths")}
    lists = {"doubts": doubts, "cost": card.list_costs(scores), "facts": card.list_facts(scores)}
    scored = ((k, card.list_scores(scores[k])) for k in ("float", "quantized"))
    rated = ([f"{k}, {p}", *r] for k, parts in scored for p, *r in parts)
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    texts = card.describe(model, scores, unit) | {
        "unit": unit,
        "part": part,
        "r2": f"{float(r2):.3f}",
        "mae": f"{float(mae):,.6g}",
        "means": f"{train['mean']:,.6g}",  # of the predictions: the model is linear
        "payload": pack(model).hex(" "),
        "policy": make_policy(template),
    }
    escaped = {key: escape(str(value)) for key, value in texts.items()}
    escaped |= {name: "</li>\n<li>".join(map(escape, them)) for name, them in lists.items()}
    escaped |= {"scores": write_rows(rated), "plots": write_figures(plots.items())}
    escaped["coefficients"] = write_rows(map(dict.values, coefficients))
    escaped["weights"] = write_rows(card.list_weights(model, coefficients))
    # nothing but "<" could end the script that holds it
    escaped["model"] = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    return Template(template).substitute(escaped)


def parse_cell(cell: str, kind: str) -> float | str | None:
    """Return a cell of predictions.csv as the page's script has it."""
    value = json.loads(cell or "null") if kind in ("number", "boolean") else cell or None
    return parse(value, kind)


def load_features(path: Path, names: Sequence[str]) -> list[dict[str, str]]:
    """Read the rows of a file, which must be of these features."""
    with files.reading(path):
        rows = files.load_csv(path)
        if [row["feature"] for row in rows] != names:
            raise ValueError("its features are not those of the model")
    return rows


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


def write_figures(plots: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<figure tabindex="0">\n<figcaption>{escape(title)}</figcaption>\n{svg}</figure>\n'
        for title, svg in plots
    )


def main() -> str:
    model, scores = document.load(files.PREDICTOR), document.load_scores()
    scores["digest"] = document.digest(files.PREDICTOR, files.SCORES)
    names = [each.name for each in model.features]
    named = params.read().report.unit
    unit = (named.get(model.dataset) if isinstance(named, dict) else named) or ""
    path = files.PLOTS / "weights.csv"
    with files.reading(path):
        found = load_features(path, [*names, *names])[: len(names)]  # of the float model
        weights = [[float(row[name]) for name in WEIGHTS] for row in found]
    path = files.PREDICTIONS
    with files.reading(path):
        kinds, cells = {**model.schema.kinds, "actual": "number"}, files.load_csv(path)
        rows = [{name: parse_cell(row[name], kinds[name]) for name in kinds} for row in cells]
        if not rows:
            raise ValueError("it has no rows")
    coefficients = load_features(files.COEFFICIENTS, ["(intercept)", *names])
    drawn = draw_plots(model.target, unit)
    plots = dict(drawn[name] for name in PLOTS)
    with files.reading(files.SCORES.parent):
        doubts = [*inference.list_doubts(coefficients, scores["rows"]["train"])]
        text = make_page(model, scores, coefficients, weights, rows, plots, doubts, unit)
        told = card.make_card(model, scores, coefficients, doubts, unit)
        made = {files.PAGE: text, files.CARD: told}
    every = ALL.format(escape(model.target), write_figures(drawn.values()))
    pictures = {Path(f"reports/pictures/{Path(it).stem}.svg"): drawn[it][1] for it in PICTURES}
    # the last has the path that DVC uses
    for path, text in {**made, **pictures, Path("dvc_plots/index.html"): every}.items():
        with files.replacing(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
    return " and ".join(path.as_posix() for path in made)


if __name__ == "__main__":
    cli.run(main, __doc__)
