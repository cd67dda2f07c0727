"""The model as one C99 header: in double, with the bits of `LinearModel.predict`, and in integers.

In integers every input is a whole number of 32 bits, x · 2^q rounded to nearest, and every weight
a whole number, factor · 2^(q - s). The sum of their products has s fraction bits and is exact.
"""

import re
import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from itertools import count
from math import ceil, log2

from stages.columns.inputs import SIZES, Input
from stages.predictor.document import GAPS, UNITS, Predictor
from stages.project.cli import InputError

HEAD_ROOM = 30  # bits of the largest number in the training range, where an int32_t has 31
LIMIT = 2**62  # of the sum, so that rounding it stays below 2^63
TWO = Fraction(2)


@dataclass(frozen=True)
class FixedPoint:
    """A model in whole numbers: factors · inputs + intercept, which is then rounded."""

    fraction_bits: tuple[int, ...]  # of each input: q, as in x · 2^q
    factors: tuple[int, ...]
    intercept: int
    sum_bits: int  # fraction bits of the sum
    result_bits: int  # and of the result
    bound: Fraction  # of the error within the training range, with the rounding of the inputs


def fixed_point(predictor: Predictor) -> FixedPoint:
    """Choose the formats of inputs, sum and result.

    An input gets as many fraction bits as leave its training range one bit of head room, the sum
    as many as the finest term has. Both get fewer where inputs of 32 bits could make the sum reach
    LIMIT; an `InputError` says that there are too many features for that.
    """
    features, weights = predictor.features, [*map(Fraction, predictor.coef)]
    pairs = [*zip(weights, features, strict=True)]
    if sum(map(abs, predictor.multipliers)) * 2**31 >= LIMIT // 2:
        raise InputError(f"{len(features)} features are too many for integers of 64 bits")
    intercept = predictor.intercept.number / TWO**predictor.intercept.exponent
    finest = [_fit(Fraction(max(abs(f.min), abs(f.max)))) for f in features]
    widest = max(f.exponent + q for f, q in zip(features, finest, strict=True))
    for sum_bits in count(widest, -1):
        bits = [min(q, sum_bits - f.exponent) for f, q in zip(features, finest, strict=True)]
        factors = [int(w * TWO ** (sum_bits - q)) for w, q in zip(weights, bits, strict=True)]
        constant = round(intercept * TWO**sum_bits)
        if sum(map(abs, factors)) * 2**31 + abs(constant) < LIMIT:
            break

    bound = abs(constant / TWO**sum_bits - intercept)
    bound += sum(abs(w) / TWO**q / 2 for w, q in zip(weights, bits, strict=True))
    ends = [(w * Fraction(f.min), w * Fraction(f.max)) for w, f in pairs]
    largest = max(abs(intercept + sum(map(end, ends))) for end in (min, max))
    result_bits = min(sum_bits, _fit(largest + bound))
    if result_bits < sum_bits:
        bound += 1 / TWO**result_bits / 2
    return FixedPoint(tuple(bits), tuple(factors), constant, sum_bits, result_bits, bound)


def header(predictor: Predictor, name: str = "") -> str:
    """Return the header, whose names begin with `name` or the target; `fixed_point` has errors."""
    name = re.sub("[^a-z0-9]+", "_", (name or predictor.target).lower()).strip("_")
    name = name if name[:1].isalpha() else f"model{name}"
    # of this model alone, so that another one of the same name is an error, and not skipped
    guard = f"{name}_{zlib.crc32(repr(predictor).encode()):08x}_h".upper()
    fixed, features = fixed_point(predictor), predictor.features
    shift = fixed.sum_bits - fixed.result_bits
    upwards = Context(prec=3, rounding=ROUND_CEILING)
    bound = upwards.divide(*map(Decimal, fixed.bound.as_integer_ratio()))
    described = "\n".join(
        f" * x[{j}]: {meaning(f, f'{name}_x{j}')} ({f.min:g} to {f.max:g}), 2^{-q}"
        for j, (f, q) in enumerate(zip(features, fixed.fraction_bits, strict=True))
    )
    comment = f"""\
 * data: {predictor.dataset}
 * target: {predictor.target}
 * weights: {predictor.bits} bits
 * gaps: {GAPS[predictor.missing]}
 *
 * The features, their training range, and the unit of their whole numbers in predict_fixed:
{described}"""
    # names must not begin or end a comment in C, or be another character
    comment = re.sub(r"[*/?\\](?=[*/?\\])", r"\g<0> ", comment)
    terms = "\n".join(
        f"    y += {multiplier} * 0x1p{-f.exponent} * x[{j}];"
        for j, (f, multiplier) in enumerate(zip(features, predictor.multipliers, strict=True))
    )
    products = [_product(f, f"{name}_x{j}") for j, f in enumerate(features) if f.factors]
    include = "#include <math.h> /* NAN is a gap of a product */\n" if products else ""
    return f"""\
/*
{comment}
 */
#ifndef {guard}
#define {guard}
{include}#include <stdint.h>

enum {{ {name}_features = {len(features)}, {name}_result_fraction_bits = {fixed.result_bits} }};
{_table(f"{name}_fraction_bits", fixed.fraction_bits)}
{_table(f"{name}_factors", fixed.factors)}

/* Intercept and weights are whole numbers times powers of two. The result has the bits of
 * LinearModel.predict where double is IEEE 754 binary64, FLT_EVAL_METHOD is 0 or 1 (not x87), and
 * no product is fused with a sum. gcc ignores the pragma: give it -std=c99 or -ffp-contract=off. */
#if !defined __SIZEOF_DOUBLE__ || __SIZEOF_DOUBLE__ == 8 /* not on AVR, where it has 32 bits */
#if defined __FAST_MATH__ || defined __ASSOCIATIVE_MATH__ || defined _M_FP_FAST \\
    || (defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__)
#error "-ffast-math and its like lose gaps, and the order of sums: compile this without them"
#endif
static inline double {name}_predict(const double x[])
{{
#if !defined __GNUC__ || defined __clang__
#pragma STDC FP_CONTRACT OFF
#endif
    double y = {predictor.intercept.number}.0 * 0x1p{-predictor.intercept.exponent};
{terms}
    return y;
}}
{"".join(products)}#endif

/* Takes x[j] * 2^{name}_fraction_bits[j], rounded to nearest, and returns the prediction times
 * 2^{fixed.result_bits}, rounded to nearest, ties up, and limited to 32 bits.
 * Within the training range it is off by {bound:g} at most, in the unit of the target, from the
 * model in exact arithmetic; the rounding of the inputs is included.
 * The sum has {fixed.sum_bits} fraction bits. It cannot overflow: no x makes it 2^62 or more. */
static inline int32_t {name}_predict_fixed(const int32_t x[])
{{
    int64_t y = INT64_C({fixed.intercept});
    for (int j = 0; j < {name}_features; j++)
        y += (int64_t){name}_factors[j] * x[j];
    /* C99 leaves open how to shift a negative number: add 2^62, and take it off again */
    y = (int64_t)(((uint64_t)y + UINT64_C({LIMIT + (1 << shift >> 1)})) >> {shift})
        - INT64_C({LIMIT >> shift});
    return y < INT32_MIN ? INT32_MIN : y > INT32_MAX ? INT32_MAX : (int32_t)y;
}}

#endif"""


def meaning(each: Input, function: str = "") -> str:
    """Say how an input is made from its columns, in words that suffice to do it."""
    if each.factors:
        return f"{each.column}, by {function}({'; '.join(map(meaning, each.factors))})"
    if each.missing:
        return f"1 where {each.column} is missing, 0 elsewhere"
    if each.level is not None:
        return f"1 where {each.column} is {each.level}, 0 elsewhere"
    filled = "" if each.fill is None else f"; {each.fill!r} where missing"
    return f"{each.column}{UNITS.get(each.kind, '')}{filled}"


def _product(each: Input, name: str) -> str:
    """Return the function that makes a product or ratio of its factors."""
    pairs, zero = [*zip(each.operators, "abcd", strict=False)], {"*": "{0} == 0 || ", "/": ""}
    fits = f"(fabs({{0}}) >= {SIZES[0]} && fabs({{0}}) <= {SIZES[1]}))"
    tests = " && ".join(f"({zero[operator]}{fits}".format(x) for operator, x in pairs)
    value = "".join(f" {operator} {x}" for operator, x in pairs)
    return f"""
static inline double {name}({", ".join(f"double {x}" for _, x in pairs)})
{{
    return {tests} ? 1.0{value} : {"NAN" if each.fill is None else repr(each.fill)};
}}
"""


def _fit(largest: Fraction) -> int:
    """Return the greatest exponent e for which largest · 2^e is at most 2^HEAD_ROOM."""
    largest = largest or Fraction(1)
    return HEAD_ROOM - ceil(log2(largest.numerator) - log2(largest.denominator))


def _table(name: str, numbers: Sequence[int]) -> str:
    width = next(w for w in (8, 16, 32) if all(abs(x) < 2 ** (w - 1) for x in numbers))
    rows = textwrap.indent(textwrap.fill(", ".join(map(str, numbers)), 92), "    ")
    return f"static const int{width}_t {name}[] = {{\n{rows}\n}};"
