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
        f"- quantization: {predictor.bits} bits a weight, rounding {predictor.rounding}, "
        + ("proven the best for its grid" if m["optimal"] else "not proven the best"),
        f"- grid: scale {predictor.scale!r}, offset {predictor.offset!r},"
        f" zero point {predictor.zero_point:.6g}",
        f"- payload: {m['payload_bits']} bits for all that a prediction needs, where float32 takes"
        f" {32 * (len(predictor.features) + 1)}",
        "",
        "| feature | least in training | greatest | code | exponent | weight |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.name} | {f.min:g} | {f.max:g} | {f.code} | {f.exponent} | {weight:.6g} |"
        for f, weight in zip(predictor.features, predictor.coef, strict=True)
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
