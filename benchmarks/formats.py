"""The formats of others, for comparison: what they cost in bytes, and what they make of a model."""

from collections.abc import Iterator

import numpy as np

from stages.regression.linear import Floats, LinearModel
from stages.regression.sums import Sums


def others(model: LinearModel, sums: Sums) -> Iterator[tuple[str, int, int, LinearModel]]:
    """Yield format, bits, payload_bytes and quantized model, if the format has the range for it.

    The payload is all that predicts: intercepts, scales, deviations and zero points are float32.
    """
    n = len(model.coef)
    with np.errstate(over="ignore", invalid="ignore"):
        intercept = float(np.float32(model.intercept))
        std = float32(sums.std[:-1])
        each = float32(np.abs(model.coef) / 127)
        each[each == 0] = 1.0
        ways = [
            ("float32", 32, 4 * (n + 1), float32(model.coef)),
            ("bfloat16", 16, 2 * n + 4, bfloat16(model.coef)),
            ("a scale each", 8, (1 + 4) * n + 4, np.rint(model.coef / each) * each),
            ("min-max", 8, (1 + 4) * n + 4 + 8, min_max(model.coef * std, 8) / std),
        ]
    for name, bits, payload_bytes, coef in ways:
        if np.isfinite([*coef, intercept]).all():
            yield name, bits, payload_bytes, LinearModel(coef, intercept)


def float32(values: Floats) -> Floats:
    """Round to float32, ties to even."""
    return values.astype(np.float32).astype(np.float64)


def bfloat16(values: Floats) -> Floats:
    """Round to the 16 upper bits of float32, ties to the even one."""
    bits = values.astype(np.float32).view(np.uint32)
    upper = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return upper.astype(np.uint32).view(np.float32).astype(np.float64)


def min_max(values: Floats, bits: int) -> Floats:
    """Round to 2^bits points from the least value to the greatest, as everybody does.

    Values that are all equal leave a scale of zero, and are kept.
    """
    zero_point, top = float(np.float32(values.min())), 2**bits - 1
    scale = float(np.float32((values.max() - zero_point) / top)) or 1.0
    codes = np.rint((values - zero_point) / scale).clip(0, top)
    return np.asarray(codes * scale + zero_point)
