"""The bytes that hold a predictor's numbers, to count what a model needs, and to send it.

A weight is (2c - (2^n - 1)) · 2^-e, c a code of n bits: an odd number times a power of two. Even
numbers would be odd ones at another exponent, so no code is wasted. The intercept is any whole
number times a power of two.

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

from stages.predictor.document import Predictor

GROUP = 5


def pack(model: Predictor) -> bytes:
    """Return the payload of a model; exponents are at most 2000 apart, so w is at most 11."""
    least = min(feature.exponent for feature in model.features)
    width = max(feature.exponent - least for feature in model.features).bit_length()
    number, exponent = model.intercept.number, model.intercept.exponent
    head = f"{model.bits - 1:04b}{width:04b}{_grouped(least)}{_grouped(exponent - least)}"
    for feature in model.features:
        both = feature.code << width | feature.exponent - least
        head += f"{both:0{model.bits + width}b}"
    needed = (number ^ number >> 1).bit_length() + 1  # with its sign
    rest = needed + -(len(head) + needed) % 8
    bits = head + f"{number % 2**rest:0{rest}b}"
    return int(bits, 2).to_bytes(len(bits) // 8)


def _grouped(value: int) -> str:
    rest = 2 * value if value >= 0 else ~(2 * value)
    text = ""
    while rest or not text:
        rest, group = divmod(rest, 2**GROUP)
        text += f"{rest > 0:d}{group:0{GROUP}b}"
    return text
