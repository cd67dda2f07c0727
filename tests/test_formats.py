import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.formats import bfloat16, float32, min_max, others
from stages.regression.linear import LinearModel
from tests.conftest import Rows

singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
doubles = st.floats(-3e38, 3e38)


def one(rounding: object, value: float) -> float:
    assert callable(rounding)
    return float(rounding(np.array([value]))[0])


@given(doubles)
def test_float32_is_what_the_bytes_of_struct_hold(value: float) -> None:
    assert one(float32, value) == struct.unpack("<f", struct.pack("<f", value))[0]


def test_float32_by_hand() -> None:
    assert one(float32, 0.1) == 0.100000001490116119384765625
    assert one(float32, 1 + 2.0**-24) == 1.0  # ties, to the even one
    assert one(float32, 1 + 3 * 2.0**-24) == 1 + 2.0**-22


@given(singles)
def test_bfloat16_is_the_nearest_of_the_two_around(value: float) -> None:
    def upper(bits: int) -> float:
        return float(struct.unpack("<f", struct.pack("<I", bits))[0])

    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    inner = bits & 0xFFFF0000
    outer = inner + 0x10000
    near, far = abs(value - upper(inner)), abs(upper(outer) - value)
    if not math.isfinite(upper(outer)):
        far = 2.0**120 - near  # as if there were a next one
    nearest = inner if near < far or (near == far and not inner >> 16 & 1) else outer
    assert one(bfloat16, value) == upper(nearest)


def test_bfloat16_by_hand() -> None:
    # 7 bits behind the point: 1 + 2^-7 is the next number after 1
    assert one(bfloat16, 1 + 2.0**-8) == 1.0  # a tie, to the even one
    assert one(bfloat16, 1 + 3 * 2.0**-8) == 1 + 2.0**-6
    assert one(bfloat16, 1 + 2.0**-8 + 2.0**-20) == 1 + 2.0**-7
    assert one(bfloat16, -(1 + 2.0**-8 + 2.0**-20)) == -1 - 2.0**-7
    assert one(bfloat16, math.pi) == 3.140625
    assert one(bfloat16, 0.0) == 0.0


@pytest.mark.parametrize("bits", range(1, 17))
@settings(max_examples=25)
@given(hnp.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)))
def test_min_max_keeps_every_value_to_half_a_step(bits: int, values: np.ndarray) -> None:
    found = min_max(values, bits)
    step = np.ptp(values) / (2**bits - 1)
    # float32 for the least value and the step, which counts up to 2^bits - 1 times
    rounding = 2.0**-23 * (np.abs(values).max() + np.ptp(values)) + 1e-44 * 2**bits
    if step > 1e-37:
        assert (np.abs(found - values) <= step / 2 + rounding).all()
        assert len(set(found)) <= 2**bits


@pytest.mark.parametrize("value", [0.0, -3.0, 0.1, 1e30])
def test_min_max_keeps_equal_values(value: float) -> None:
    for n in (1, 4):
        found = min_max(np.full(n, value), 8)
        np.testing.assert_allclose(found, value, rtol=2**-24, atol=0)


def test_min_max_by_hand() -> None:
    # from -1 to 2 in steps of 1; a tie goes to the even code
    assert min_max(np.array([-1.0, 2.0, 0.4, 0.5, 1.5]), 2).tolist() == [-1, 2, 0, 1, 1]


ROWS = Rows(np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]), np.arange(4.0))


def test_the_bytes_of_a_payload_are_counted_by_hand() -> None:
    model = LinearModel(np.array([1.0, -0.3]), 0.1)
    found = {name: (bits, payload) for name, bits, payload, _ in others(model, ROWS.sums)}
    assert found == {
        "float32": (32, 3 * 4),  # two weights and the intercept
        "bfloat16": (16, 2 * 2 + 4),
        "a scale each": (8, 1 + 4 + 1 + 4 + 4),
        "min-max": (8, 2 * 1 + 2 * 4 + 4 + 4 + 4),  # codes, deviations; a grid; intercept
    }


def test_each_format_gives_the_model_by_hand() -> None:
    model = LinearModel(np.array([1.0, -0.3]), 0.1)
    found = {name: quantized for name, _, _, quantized in others(model, ROWS.sums)}
    assert {quantized.intercept for quantized in found.values()} == {float(np.float32(0.1))}
    assert found["float32"].coef.tolist() == [1.0, float(np.float32(-0.3))]
    assert found["bfloat16"].coef.tolist() == [1.0, -0.30078125]  # 1.203125 / 4: 0.2998 is farther
    scales = [float(np.float32(size / 127)) for size in (1.0, 0.3)]
    assert found["a scale each"].coef.tolist() == [127 * scales[0], -127 * scales[1]]
    # on deviations 1 and 2 these are 1 and -0.6, the ends of the grid
    scale, least = float(np.float32((1 - float(np.float32(-0.6))) / 255)), float(np.float32(-0.6))
    assert found["min-max"].coef.tolist() == [255 * scale + least, least / 2]


@pytest.mark.parametrize("size", [1e39, 1e300])
def test_formats_whose_range_the_weights_exceed_are_left_out(size: float) -> None:
    assert list(others(LinearModel(np.array([size, 1.0]), size), ROWS.sums)) == []


def test_zero_weights_stay_zero() -> None:
    for _, _, _, quantized in others(LinearModel(np.zeros(2), 1.5), ROWS.sums):
        assert (quantized.coef.tolist(), quantized.intercept) == ([0.0, 0.0], 1.5)
