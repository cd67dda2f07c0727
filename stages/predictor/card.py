"""The model card: what a predictor says of itself, for people."""

from collections.abc import Mapping
from typing import Any

from stages.predictor.document import Predictor
from stages.predictor.expression import expression


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
        "",
        "| feature | least in training | greatest | code | multiplier / power of two |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.name} | {f.min:g} | {f.max:g} | {f.code} | {multiplier} / 2^{f.exponent} |"
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
        + expression(predictor, [feature.name for feature in predictor.features]),
    ]
    return "\n".join(lines)
