"""A linear model to codes and back, by the way of rounding that `quantize.rounding` names."""

import math
from collections.abc import Iterator

from stages.quantizer.affine import MAX_BITS, QuantizedWeights, quantize_nearest
from stages.quantizer.search import quantize_optimal
from stages.regression.linear import Floats, LinearModel
from stages.regression.moments import Moments


def quantize(coef: Floats, moments: Moments, rounding: str) -> Iterator[QuantizedWeights]:
    """Quantize the weights `coef`, of shape (n_features,), to 1, 2, … 16 bits, each when asked."""
    if rounding == "nearest":
        return (quantize_nearest(coef, moments.x_std, bits) for bits in range(1, MAX_BITS + 1))
    return quantize_optimal(coef, moments.x_std, moments.correlation)


def dequantize(weights: QuantizedWeights, model: LinearModel, moments: Moments) -> LinearModel:
    """Return the model that the codes for the weights of `model` stand for.

    Its intercept is refitted: argmin_b Σ (b + x · v̂ - y)² = mean(y) - Σ v̂_j · mean(x_j), which
    is that of `model` + Σ (v_j - v̂_j) · mean(x_j). So taken, it loses nothing to large means.
    """
    coef = weights.coef
    shift = (model.coef - coef) * moments.x_mean
    return LinearModel(coef, math.fsum([model.intercept, *shift.tolist()]))
