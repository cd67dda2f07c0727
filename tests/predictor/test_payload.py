"""Payloads against the layout in the docstring, read back by a few lines of their own."""

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from stages.columns.inputs import Input
from stages.predictor.document import Intercept, Predictor
from stages.predictor.payload import pack
from tests.conftest import EXAMPLE, feature


def model_of(bits: int, weights: list[tuple[int, int]], number: int, exponent: int) -> Predictor:
    """Make a model of codes and exponents."""
    features = (feature(Input(f"f{j}"), 0.0, 1.0, *weight) for j, weight in enumerate(weights))
    intercept = Intercept(number, exponent)
    return replace(EXAMPLE, bits=bits, intercept=intercept, features=tuple(features))


@st.composite
def models(draw: st.DrawFn) -> Predictor:
    bits, least = draw(st.integers(1, 16)), draw(st.integers(-1000, 1000))
    weight = st.tuples(
        st.integers(0, 2**bits - 1), st.integers(least, draw(st.integers(least, 1000)))
    )
    weights = draw(st.lists(weight, min_size=1, max_size=6))
    exponent = draw(st.integers(-900, 1000))
    return model_of(bits, weights, draw(st.just(0) | st.integers(-(2**60), 2**60)), exponent)


@dataclass
class Bits:
    """The bits of a payload, of which the first ones are taken."""

    left: str

    def take(self, count: int) -> int:
        taken, self.left = self.left[:count], self.left[count:]
        return int(taken or "0", 2)

    def grouped(self) -> int:
        x = k = 0
        while True:
            more, group = self.take(1), self.take(5)
            x, k = x + (group << 5 * k), k + 1
            if not more:
                return -(x + 1) // 2 if x % 2 else x // 2


def unpack(payload: bytes, n_features: int) -> tuple[list[Fraction], Fraction]:
    """Return the weights and the intercept, by the layout."""
    bits = Bits("".join(f"{byte:08b}" for byte in payload))
    n, width, least = bits.take(4) + 1, bits.take(4), bits.grouped()
    exponent = least + bits.grouped()
    weights = [
        (2 * bits.take(n) - (2**n - 1)) * Fraction(2) ** -(least + bits.take(width))
        for _ in range(n_features)
    ]
    negative = bits.left[0] == "1"
    number = int(bits.left, 2) - negative * 2 ** len(bits.left)
    return weights, number * Fraction(2) ** -exponent


def test_a_payload_is_these_bits_by_hand() -> None:
    # three bits stand for -7, -5, … 7, so that the weights are 7/4, -1 · 2 and 3/2
    model = model_of(3, [(7, 2), (3, -1), (5, 1)], 13, 3)
    bits = [
        "0010",  # n - 1
        "0010",  # exponents differ by 3, which has two bits
        "0" + "00001",  # the least one is -1: 2 · 1 - 1
        "0" + "01000",  # the intercept's, 3 - (-1), is 2 · 4
        "111" + "11",  # code 7, and 2 - (-1)
        "011" + "00",  # code 3
        "101" + "10",  # code 5, and 1 - (-1)
        "01101",  # 13, and with these the bits are 40
    ]
    assert pack(model) == int("".join(bits), 2).to_bytes(5)
    weights = [Fraction(7, 4), Fraction(-2), Fraction(3, 2)]
    assert unpack(pack(model), 3) == (weights, Fraction(13, 8))


def test_one_bit_and_one_feature_take_four_bytes() -> None:
    # 0000 0000, the least exponent 0 and the intercept's 16 levels on: 32 in two groups of five
    # bits; the code; -1 in two's complement, as wide as the byte
    bits = "00000000000000100000000001111111"
    assert pack(model_of(1, [(1, 0)], -1, 16)) == int(bits, 2).to_bytes(4)


@given(models())
@example(model_of(1, [(0, 0)], 0, 0))
@example(model_of(16, [(0, -1000), (65535, 1000)], -(2**62), 950))
@example(model_of(2, [(1, 950)], -1, -950))
@example(model_of(2, [(1, 950)], -128, 0))
@example(model_of(2, [(1, 950)], 127, 0))
def test_a_payload_holds_weights_and_intercept(model: Predictor) -> None:
    weights = list(map(Fraction, model.coef))
    intercept = model.intercept.number * Fraction(2) ** -model.intercept.exponent
    assert unpack(pack(model), len(weights)) == (weights, intercept)


@given(models())
def test_a_payload_has_the_bits_that_the_layout_counts(model: Predictor) -> None:
    def grouped(x: int) -> int:
        zigzag = 2 * x if x >= 0 else -2 * x - 1
        return next(6 * k for k in range(1, 9) if zigzag < 32**k)

    exponents, number = [each.exponent for each in model.features], model.intercept.number
    least = min(exponents)
    width = next(w for w in range(20) if max(exponents) - least < 2**w)
    head = 8 + grouped(least) + grouped(model.intercept.exponent - least)
    head += len(exponents) * (model.bits + width)
    # the narrowest two's complement that holds the intercept
    needed = next(k for k in range(1, 99) if -(2 ** (k - 1)) <= number < 2 ** (k - 1))
    assert len(pack(model)) == -(-(head + needed) // 8)


@pytest.mark.parametrize("bits", range(1, 17))
def test_every_width_comes_back_at_both_ends(bits: int) -> None:
    model = model_of(bits, [(0, 5), (2**bits - 1, -5)], -1, 0)
    assert unpack(pack(model), 2) == (list(map(Fraction, model.coef)), Fraction(-1))
