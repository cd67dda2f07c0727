"""A linear model to codes and back, by the way of rounding that `quantize.rounding` names."""

from collections.abc import Iterator

from stages.quantizer.affine import MAX_BITS, QuantizedWeights, quantize_nearest
from stages.quantizer.search import quantize_optimal
from stages.regression.linear import Floats, LinearModel
from stages.regression.sums import Sums


def quantize(coef: Floats, sums: Sums, rounding: str) -> Iterator[QuantizedWeights]:
    """Quantize the weights `coef`, of shape (n_features,), to 1, 2, … 16 bits, each when asked."""
    std = sums.std[:-1]
    if rounding == "nearest":
        return (quantize_nearest(coef, std, bits) for bits in range(1, MAX_BITS + 1))
    return quantize_optimal(coef, std, sums.correlation[:-1, :-1])


def dequantize(weights: QuantizedWeights, sums: Sums) -> LinearModel:
    """Return the model that the codes stand for, with the best intercept for these weights."""
    return LinearModel(weights.coef, sums.intercept(weights.coef))
