import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.quantizer.affine import (
    MAX_BITS,
    QuantizedWeights,
    exponents_of,
    float32,
    nearest_codes,
    quantize_nearest,
)

WIDTHS = range(1, MAX_BITS + 1)


@pytest.mark.parametrize("bits", WIDTHS)
@given(data=st.data())
def test_the_error_of_nearest_codes_is_at_most_half_a_step(bits: int, data: st.DataObject) -> None:
    scale, offset = data.draw(st.floats(1e-3, 1e3)), data.draw(st.floats(-1e3, 1e3))
    top = offset + scale * (2**bits - 1)
    u = data.draw(hnp.arrays(np.float64, 8, elements=st.floats(offset, top)))
    codes = nearest_codes(u, bits, scale, offset)
    error = np.abs(offset + scale * codes - u)
    rounding = 4 * 2**-53 * (abs(offset) + abs(top))  # of the four operations above and in there
    assert (error <= scale / 2 + rounding).all()


@pytest.mark.parametrize("bits", WIDTHS)
def test_weights_outside_the_grid_take_its_ends(bits: int) -> None:
    codes = nearest_codes(np.array([-1e9, 1e9]), bits, scale=1.0, offset=0.0)
    assert codes.tolist() == [0, 2**bits - 1]


def test_a_tie_goes_to_the_even_code() -> None:
    halves = np.array([0.5, 1.5, 2.5, -0.5])
    assert nearest_codes(halves, 8, scale=1.0, offset=0.0).tolist() == [0, 2, 2, 0]


def test_a_negative_code_is_clipped_and_does_not_wrap() -> None:
    # cast before it is clipped, -4 as an unsigned byte is 252
    assert nearest_codes(np.array([-4.0]), 8, scale=1.0, offset=0.0).tolist() == [0]


@given(st.floats(1e-300, 1e300))
def test_exponents_are_the_nearest_powers_of_two(sigma: float) -> None:
    (exponent,) = exponents_of(np.array([sigma]))
    assert np.sqrt(0.5) * (1 - 1e-15) <= np.ldexp(sigma, -int(exponent)) <= np.sqrt(2) * (1 + 1e-15)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("weight", [0.0, 1.0, -0.3, 1e150, -1e-150, 1e300, 5e-324])
@pytest.mark.parametrize("n", [1, 3])
def test_equal_weights_survive_a_grid_of_zero_range(bits: int, weight: float, n: int) -> None:
    with warnings.catch_warnings(action="error"):
        weights = quantize_nearest(np.full(n, weight), np.ones(n), bits)
        coef, zero_point = weights.coef, weights.zero_point
    assert weights.codes.tolist() == [0] * n
    assert weights.scale == 1.0
    assert np.isfinite(zero_point)
    # what is lost is the rounding of the offset to 32 bits
    np.testing.assert_allclose(coef, weight, rtol=2**-24, atol=0)


@pytest.mark.parametrize("bits", WIDTHS)
@given(hnp.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)))
def test_quantize_nearest_keeps_every_weight_to_half_a_step(bits: int, coef: np.ndarray) -> None:
    sigma = np.array([1e-3, 0.5, 1.0, 3.0, 1e4])
    before = coef.copy()
    weights = quantize_nearest(coef, sigma, bits)
    assert weights.bits == bits
    assert weights.codes.dtype == np.int64
    if len(set(np.ldexp(coef, weights.exponents).astype(np.float32))) > 1:
        assert (weights.codes.min(), weights.codes.max()) == (0, 2**bits - 1)
    error = np.abs(np.ldexp(weights.coef - coef, weights.exponents))
    # |u| < 1, so that 32 bits of offset and of the whole range cost at most 2^-24 each, twice
    assert (error <= weights.scale / 2 + 2**-22).all()
    assert (coef == before).all()


@pytest.mark.parametrize(
    ("name", "rule", "value"),
    [
        *(("coef", "finite", value) for value in (np.nan, np.inf, -np.inf)),
        *(("sigma", "positive and finite", value) for value in (np.nan, np.inf, 0.0, -1.0)),
    ],
)
def test_what_is_not_finite_is_refused_by_name(name: str, rule: str, value: float) -> None:
    arrays = {"coef": np.ones(3), "sigma": np.ones(3)}
    arrays[name][1] = value
    with pytest.raises(ValueError, match=rf"^{name}\[1\] must be {rule}, got {value}$"):
        quantize_nearest(**arrays, bits=8)


@pytest.mark.parametrize("bits", [0, 17, -1, 2.5, True])
def test_widths_beyond_1_to_16_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"^bits must be an integer from 1 to 16, got {bits}$"):
        quantize_nearest(np.ones(2), np.ones(2), bits)


def test_arrays_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sigma must have the shape of coef, \(3,\), got \(1,\)"):
        quantize_nearest(np.ones(3), np.ones(1), 8)


def test_the_payload_counts_everything_that_is_needed_to_predict() -> None:
    weights = QuantizedWeights(
        bits=3,
        codes=np.array([0, 7, 1]),
        exponents=np.array([-2, 9, 0]),  # a spread of 11 needs 4 bits
        scale=1.0,
        offset=0.0,
    )
    assert weights.payload_bits == 3 * 3 + 3 * 4 + 16 + 32 + 32 + 64


def test_float32_is_exact_in_32_bits() -> None:
    assert float32(0.1) == 0.100000001490116119384765625
