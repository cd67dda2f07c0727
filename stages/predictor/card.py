"""The model card: what a predictor says of itself, for people."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stages.predictor.document import PROOF, Predictor
from stages.predictor.expression import expression

GAPS = {
    "fail": "a row that has one is refused",
    "drop": "a row that has one is left out",
    "mean": "the mean of the training rows takes their place, or the baseline",
}


def card(predictor: Predictor, scores: Mapping[str, Any]) -> str:
    """Return the model card as Markdown, for `scores` of scores.json; Hugging Face reads it too."""
    target, features, found = predictor.target, predictor.features, scores["quantization"]
    difference, gain = found["prediction_difference"], 0 - found["r2_drop"]
    baselines = (
        f"\n- {name}: {baseline} is the baseline, as is a level that is not below"
        for name, (baseline, *_) in predictor.levels.items()
    )
    weights, parts = list_weights(predictor), list_scores(scores["quantized"])
    names = [f.name if f.name.isidentifier() else f"[{f.name}]" for f in features]
    return f"""\
---
pipeline_tag: tabular-regression
tags: [linear-regression, quantized]
---
# {target}: linear regression, {predictor.bits}-bit weights

- data: {predictor.dataset}, {len(features)} features
- predicts: {target}, in {predictor.unit}
- quantization: whole-number weights of {predictor.bits} bits, {PROOF[found["optimal"]]}
- payload: {found["payload_bits"] // 8} bytes for all that a prediction needs, where float32 takes \
{4 * (len(features) + 1)}{"".join(baselines)}
- gaps: {GAPS[predictor.missing]}

| feature | least in training | greatest | code | multiplier / power of two |
|---|---|---|---|---|{_lines(weights)}

| rows | R² | MSE | RMSE | MAE |
|---|---|---|---|---|{_lines(parts)}

- against the float model: training MSE {found["mse_growth_percent"]:+g} %, test R² {gain:+g}
- predictions differ from the float model's by {difference["max"]:g} at most on the test rows, \
and by no more than {difference["bound"]:g} anywhere in the training range
- {target} = {expression(predictor, names)}"""


def list_weights(predictor: Predictor) -> Iterator[list[str]]:
    """Yield for each feature its name, its range in the training rows, its code and its weight."""
    for f, multiplier in zip(predictor.features, predictor.multipliers, strict=True):
        weight = f"{multiplier} / 2^{f.exponent}"
        yield [f.name, f.show(f.min), f.show(f.max), str(f.code), weight]


def list_scores(parts: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    """Yield for training and test rows their name, R², MSE, RMSE and MAE."""
    names = {"train": "training rows", "test": "test rows"}
    for part, scores in parts.items():
        yield [names[part], *(f"{scores[name]:.6f}" for name in ("r2", "mse", "rmse", "mae"))]


def _lines(rows: Iterable[Iterable[str]]) -> str:
    """Write rows of a table of Markdown, in whose cells a | is no end."""
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "".join(f"\n| {' | '.join(row)} |" for row in cells)
