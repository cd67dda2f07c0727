"""Whole-number codes for a linear model, and the bytes that hold it.

A weight is (2c - (2^n - 1)) · 2^-e, c a code of n bits: an odd number times a power of two. In the
field's words: a mid-rise quantizer with the scale 2^(1-e) for each feature and the zero point
(2^n - 1) / 2. Even numbers would be odd ones at another exponent, so no code is wasted. The
intercept is any whole number times a power of two.

The payload is one string of bits, from the highest bit of the first byte on:

=========  =================================================================================
4          n - 1
4          w, the width of an exponent; 15 is kept for other versions of this format
6, 12, …   the least exponent, e₀
6, 12, …   the exponent of the intercept, less e₀
n + w      for each feature its code, and its exponent less e₀
the rest   the whole number of the intercept, in two's complement, as wide as the bytes allow
=========  =================================================================================

A number x of 6, 12, … bits is 2x, or -2x - 1 if it is negative, in groups of five bits from the
lowest on, each behind a bit that tells if another group follows.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.regression.linear import LinearModel

Integers = NDArray[np.int64]

MAX_BITS = 16
MAX_WIDTH = 14
GROUP = 5
NUMBER = "((?:1.{5}){0,2}0.{5})"  # exponents from -2^14 to 2^14 are more than doubles have
HEAD = re.compile(f"(.{{4}})(.{{4}}){NUMBER}{NUMBER}(.*)")


@dataclass(frozen=True, eq=False)
class Codes:
    """A quantized linear model."""

    bits: int  # 1 to 16
    codes: Integers  # from 0 to 2^bits - 1, of shape (n_features,)
    exponents: Integers
    intercept: int  # times 2^-intercept_exponent
    intercept_exponent: int

    @property
    def multipliers(self) -> Integers:
        """The odd numbers that the codes stand for."""
        return np.asarray(2 * self.codes - (2**self.bits - 1))

    @property
    def zero_point(self) -> float:
        """The code, half of a whole number, that would stand for 0."""
        return (2.0**self.bits - 1) / 2

    @property
    def model(self) -> LinearModel:
        """The model that the codes stand for, exactly."""
        intercept = math.ldexp(self.intercept, -self.intercept_exponent)
        return LinearModel(np.ldexp(self.multipliers, -self.exponents), intercept)


def pack(codes: Codes) -> bytes:
    """Return the payload of a model."""
    least = int(codes.exponents.min())
    width = int(codes.exponents.max() - least).bit_length()
    if width > MAX_WIDTH:
        raise ValueError(f"exponents must differ by less than {2**MAX_WIDTH}")
    head = f"{codes.bits - 1:04b}{width:04b}"
    head += _grouped(least) + _grouped(codes.intercept_exponent - least)
    for code, exponent in zip(codes.codes.tolist(), codes.exponents.tolist(), strict=True):
        head += f"{code << width | exponent - least:0{codes.bits + width}b}"
    needed = (codes.intercept ^ codes.intercept >> 1).bit_length() + 1  # with its sign
    rest = needed + -(len(head) + needed) % 8
    bits = head + f"{codes.intercept % 2**rest:0{rest}b}"
    return int(bits, 2).to_bytes(len(bits) // 8)


def unpack(payload: bytes, n_features: int) -> Codes:
    """Return the model whose payload this is; a `ValueError` says why there is none."""
    head = HEAD.match("".join(f"{byte:08b}" for byte in payload))
    if not head:
        raise ValueError("the payload is too short, or an exponent of it too large")
    n, width = int(head[1], 2) + 1, int(head[2], 2)
    if width > MAX_WIDTH:
        raise ValueError("the payload is of an unknown version")
    least = _ungrouped(head[3])
    weights, intercept = head[5][: n_features * (n + width)], head[5][n_features * (n + width) :]
    if not intercept:
        raise ValueError("the payload is too short")
    each = [weights[k : k + n + width] for k in range(0, len(weights), n + width)]
    codes = np.array([int(bits[:n], 2) for bits in each])
    exponents = np.array([least + int("0" + bits[n:], 2) for bits in each])
    number = int(intercept, 2) - (int(intercept[0]) << len(intercept))
    found = Codes(n, codes, exponents, number, least + _ungrouped(head[4]))
    if pack(found) != payload:
        raise ValueError("the payload is not the shortest one of its model")
    try:
        with np.errstate(over="raise"):
            found.model  # noqa: B018
    except ArithmeticError as error:
        raise ValueError("the payload has a number that is too large") from error
    return found


def _ungrouped(bits: str) -> int:
    groups = [bits[k + 1 : k + 1 + GROUP] for k in range(0, len(bits), 1 + GROUP)]
    value = int("".join(reversed(groups)), 2)
    return ~(value >> 1) if value % 2 else value >> 1


def _grouped(value: int) -> str:
    rest = 2 * value if value >= 0 else ~(2 * value)
    text = ""
    while rest or not text:
        rest, group = divmod(rest, 2**GROUP)
        text += f"{rest > 0:d}{group:0{GROUP}b}"
    return text
