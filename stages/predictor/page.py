"""The model as a page for people: one HTML file that needs no network, framework or server."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from msgspec.structs import asdict

from stages.columns.inputs import parsed
from stages.predictor.card import GAPS
from stages.predictor.document import Predictor
from stages.project.cli import plural
from stages.project.typed import convert

MODELS = ("float", "quantized")
RATED = {"r2": "R²", "mae": "mean absolute error", "rmse": "root mean squared error"}


def page(
    text: bytes,
    scores: Mapping[str, Any],
    weights: Sequence[tuple[float, float]],
    sample: Mapping[str, str],
    payload: bytes,
    plots: Mapping[str, str],
) -> str:
    """Return the page of the predictor whose JSON is `text`; the page names its SHA-256.

    `scores` are those of scores.json. `weights` has each feature's weight in the float model, and
    its mean in the training rows. The inputs start at `sample`, a row of predictions.csv. `payload`
    are the bytes of the model, and `plots` are SVG by title.
    """
    document = json.loads(text)
    model, found = convert(document, Predictor), scores["quantization"]
    train, test = scores["quantized"].values()
    kinds = model.schema.kinds
    data = {
        "predictor": document,
        "weights": weights,
        "intercept": scores["intercept"]["float"],
        "start": {name: _value(sample[name], kind) for name, kind in kinds.items()},
        "actual": float(sample["actual"]),
        "std": train["std"],
    }
    rated = (
        [f"{name} on {which}", *(f"{scores[kind][part][score]:.6f}" for kind in MODELS)]
        for part, which in (("test", "test rows"), ("train", "training rows"))
        for score, name in RATED.items()
    )
    rows = (
        [f.name, *map(f.shown, (f.min, f.max)), f.code, f.exponent, f"{w:.6g}", f"{v:.6g}"]
        for f, w, (v, _) in zip(model.features, model.coef, weights, strict=True)
    )
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    texts = {
        **asdict(model),
        **found,
        **found["prediction_difference"],
        "columns": f"{plural(len(kinds), 'column')} of {model.dataset}",
        "proof": "proven the best of their format" if found["optimal"] else "not proven the best",
        "size": len(payload),
        "explained": f"{100 * test['r2']:.1f} %",
        "mae": f"{test['mae']:,.6g}",
        "means": f"{train['mean']:,.6g}",  # of the predictions: the model is linear
        "gaps": GAPS[model.missing],
        "last": 2**model.bits - 1,
        "number": model.intercept.number,
        "power": model.intercept.exponent,
        "payload": payload.hex(" "),
        "digest": sha256(text).hexdigest(),
        "policy": _policy(template),
    }
    drawn = (
        f'<figure tabindex="0">\n<figcaption>{escape(title)}</figcaption>\n{svg}\n</figure>\n'
        for title, svg in plots.items()
    )
    escaped = {key: escape(str(value)) for key, value in texts.items()}
    escaped |= {"scores": _rows(rated), "rows": _rows(rows), "plots": "".join(drawn)}
    # nothing but "<" could end the script that holds it
    escaped["model"] = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return Template(template).substitute(escaped)


def _policy(template: str) -> str:
    """Allow the style and the script of the page by their hashes, and nothing else."""
    own = re.findall(r"<(style|script)>(.*?)</\1>", template, re.DOTALL)
    hashes = ((name, b64encode(sha256(it.encode()).digest()).decode()) for name, it in own)
    allowed = "".join(f"{name}-src 'sha256-{code}'; " for name, code in hashes)
    return f"default-src 'none'; {allowed}img-src data:; base-uri 'none'"


def _rows(rows: Iterable[Iterable[object]]) -> str:
    cells = ([escape(str(cell)) for cell in row] for row in rows)
    return "".join(
        f'<tr><th scope="row">{first}</th><td>{"</td><td>".join(rest)}</td></tr>\n'
        for first, *rest in cells
    )


def _value(cell: str, kind: str) -> float | str | None:
    """Return what a cell holds, a date as days since 1970; None is a gap."""
    if kind == "boolean" and cell:
        return cell == "true"
    return parsed(float(cell) if kind == "number" and cell else cell or None, kind)
