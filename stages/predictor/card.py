"""The model card: what a predictor says of itself, for people."""

from collections.abc import Mapping
from typing import Any

from stages.predictor.document import Predictor
from stages.predictor.expression import expression

GAPS = {
    "fail": "a row that has one is refused",
    "drop": "a row that has one is left out",
    "mean": "the mean of the training rows takes their place, or the baseline",
}


def card(predictor: Predictor, scores: Mapping[str, Any]) -> str:
    """Return the model card of `predictor` as Markdown; `scores` are those of scores.json."""
    m = scores["quantization"]
    lines = [
        f"# {predictor.target}: linear regression, {predictor.bits}-bit weights",
        "",
        f"- data: {predictor.dataset}, {len(predictor.features)} features",
        f"- predicts: {predictor.target}, in {predictor.unit}",
        f"- quantization: whole-number weights of {predictor.bits} bits, "
        + ("proven the best of their format" if m["optimal"] else "not proven the best"),
        f"- payload: {m['payload_bits'] // 8} bytes for all that a prediction needs, where float32"
        f" takes {4 * (len(predictor.features) + 1)}",
        *(
            f"- {_cell(name)}: {_cell(baseline)} is the baseline, as is a level that is not below"
            for name, (baseline, *_) in predictor.levels.items()
        ),
        f"- gaps: {GAPS[predictor.missing]}",
        "",
        "| feature | least in training | greatest | code | multiplier / power of two |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {_cell(f.name)} | {f.input.shown(f.min)} | {f.input.shown(f.max)} | {f.code}"
        f" | {multiplier} / 2^{f.exponent} |"
        for f, multiplier in zip(predictor.features, predictor.multipliers, strict=True)
    ]
    lines += ["", "| rows | R² | MSE | RMSE | MAE |", "|---|---|---|---|---|"]
    lines += [
        f"| {part} | {s['r2']:.6f} | {s['mse']:.6f} | {s['rmse']:.6f} | {s['mae']:.6f} |"
        for part, s in ((part, scores["quantized"][part]) for part in ("train", "test"))
    ]
    difference = m["prediction_difference"]
    lines += [
        "",
        f"- against the float model: training MSE {m['mse_growth_percent']:+g} %,"
        f" test R² {0 - m['r2_drop']:+g}",
        f"- predictions differ from the float model's by {difference['max']:g} at most on the"
        f" test rows, and by no more than {difference['bound']:g} anywhere in the training range",
        f"- {predictor.target} = "
        + expression(predictor, [_operand(feature.name) for feature in predictor.features]),
    ]
    return "\n".join(lines)


def _cell(name: str) -> str:
    """Write a name so that Markdown does not end the cell of a table in it."""
    return name.replace("|", "\\|")


def _operand(name: str) -> str:
    return name if name.isidentifier() else f"[{name}]"
