"""Affine n-bit codes for the weights of a linear model: the format, and rounding to nearest.

A weight is kept as ``2^-exponent · (offset + scale · code)`` with an integer code of n bits. All
weights share one scale and one offset; the exponent, a power of two for each feature, makes
weights of different size fit the one grid, and costs no multiplication: x · 2^-exponent is exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.regression.linear import Floats

Integers = NDArray[np.int64]

MAX_BITS = 16
GRID_BITS = 2 * 32  # scale and offset, each exact in 32 bits
BASE_BITS = 16  # the smallest exponent, from which the others count
INTERCEPT_BITS = 64


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """Weights as codes.

    Attributes
    ----------
    bits : int, 1 to 16
    codes : ndarray of shape (n_features,), integers from 0 to 2^bits - 1
    exponents : ndarray of shape (n_features,), integers
    scale, offset : float, each exact in 32 bits; a scale is positive
    optimal : bool
        Whether codes and exponents are proven the best for the grid.
    nodes : int
        What the enumeration visited for this proof, or before it gave up.
    """

    bits: int
    codes: Integers
    exponents: Integers
    scale: float
    offset: float
    optimal: bool = False
    nodes: int = 0

    @property
    def zero_point(self) -> float:
        """The code, not always an integer, that stands for zero."""
        return -self.offset / self.scale

    @property
    def coef(self) -> Floats:
        """The weights that the codes stand for."""
        coef: Floats = np.ldexp(self.offset + self.scale * self.codes, -self.exponents)
        return coef

    @property
    def payload_bits(self) -> int:
        """All that is needed to predict, in bits: codes, exponents, scale, offset, intercept."""
        spread = int(self.exponents.max() - self.exponents.min())
        bits_per_weight = self.bits + spread.bit_length()
        return len(self.codes) * bits_per_weight + BASE_BITS + GRID_BITS + INTERCEPT_BITS


def float32(value: float) -> float:
    """Round to the nearest number that 32 bits hold, ties to even."""
    return float(np.float32(value))


def exponents_of(sigma: Floats) -> Integers:
    """Round log2 of each sigma to the nearest integer, without a logarithm's last bit."""
    mantissa, exponent = np.frexp(sigma)  # sigma = mantissa · 2^exponent, mantissa in [½, 1)
    exponents: Integers = (exponent - (mantissa < np.sqrt(0.5))).astype(np.int64)
    return exponents


def nearest_codes(u: Floats, bits: int, scale: float, offset: float) -> Integers:
    """Round every u to the nearest point of the grid, ties to the even code.

    Rounded, then clipped, and only then cast: a cast first would wrap a negative code round.
    """
    codes: Integers = np.clip(np.rint((u - offset) / scale), 0, 2**bits - 1).astype(np.int64)
    return codes


def quantize_nearest(coef: Floats, sigma: Floats, bits: int) -> QuantizedWeights:
    """Quantize as everybody does it: a grid from minimum to maximum, each weight to its nearest.

    Weights that are all equal, or a single one, leave a grid of zero range. Its scale is 1 by
    definition, all codes are 0, and the offset is the weight.

    Parameters
    ----------
    coef : ndarray of shape (n_features,), finite
        Weights on raw features.
    sigma : ndarray of shape (n_features,), positive
        Standard deviations of the features; their powers of two bring the weights to one size.
    bits : int, 1 to 16

    Returns
    -------
    QuantizedWeights
        Each weight is off by at most ``2^-exponent · scale / 2``, and what 32 bits of offset cost.

    Raises
    ------
    ValueError
        A weight is not finite, a deviation not positive and finite, or the width not supported.
    """
    if coef.shape != sigma.shape:
        raise ValueError(f"sigma must have the shape of coef, {coef.shape}, got {sigma.shape}")
    _require(np.isfinite(coef), "coef", "finite", coef)
    _require(np.isfinite(sigma) & (sigma > 0), "sigma", "positive and finite", sigma)
    if type(bits) is not int or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"bits must be an integer from 1 to {MAX_BITS}, got {bits}")
    exponents = exponents_of(sigma)
    _, size = np.frexp(np.max(np.abs(np.ldexp(coef, exponents))))
    exponents = exponents - size  # the largest |u| in [½, 1): no weight is out of float32's range
    u = np.ldexp(coef, exponents)
    offset = float32(u.min())
    scale = float32((u.max() - u.min()) / (2**bits - 1)) or 1.0
    codes = nearest_codes(u, bits, scale, offset)
    return QuantizedWeights(bits, codes, exponents, scale, offset)


def _require(holds: NDArray[np.bool_], name: str, rule: str, values: Floats) -> None:
    for i in np.flatnonzero(~holds):
        raise ValueError(f"{name}[{i}] must be {rule}, got {values[i]}")
