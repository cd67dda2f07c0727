import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.cost import require
from benchmarks.formats import Scored, convert, pick, to_bfloat16, to_float32, to_min_max
from stages.regression.linear import LinearModel
from tests.conftest import Rows

MODEL = LinearModel(np.array([1.0, -0.3]), 0.1)
SUMS = Rows(np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]), np.arange(4.0)).sums


@given(st.floats(-3e38, 3e38))
def test_float32_is_what_the_bytes_of_struct_hold(value: float) -> None:
    [found] = to_float32(np.array([value]))
    assert found == struct.unpack("<f", struct.pack("<f", value))[0]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
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
    assert to_bfloat16(np.array([value])) == upper(nearest)


def test_ties_go_to_the_even_one() -> None:
    # 23 bits behind the point, 7 bits, and steps of 1 from -1 to 2
    values = 1 + np.array([1, 3]) * 2.0**-24
    assert to_float32(values).tolist() == [1, 1 + 2.0**-22]
    values = 1 + np.array([1, 3, 1 + 2.0**-12]) * 2.0**-8
    assert to_bfloat16(values).tolist() == [1, 1 + 2.0**-6, 1 + 2.0**-7]
    assert to_min_max(np.array([-1, 2, 0.4, 0.5, 1.5]), 2).tolist() == [-1, 2, 0, 1, 1]


@pytest.mark.parametrize("bits", range(1, 17))
@settings(max_examples=10)
@given(hnp.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)))
def test_min_max_keeps_every_value_to_half_a_step(bits: int, values: np.ndarray) -> None:
    found = to_min_max(values, bits)
    step = np.ptp(values) / (2**bits - 1)
    # float32 for the least value and the step, which counts up to 2^bits - 1 times
    rounding = 2.0**-23 * (np.abs(values).max() + np.ptp(values)) + 1e-44 * 2**bits
    if step > 1e-37:
        assert (np.abs(found - values) <= step / 2 + rounding).all()
        assert len(set(found)) <= 2**bits


def test_min_max_keeps_equal_values() -> None:
    for value in (0.0, -3.0, 0.1, 1e30):
        np.testing.assert_allclose(to_min_max(np.full(4, value), 8), value, rtol=2**-24, atol=0)


def test_each_format_has_the_bytes_and_the_weights_by_hand() -> None:
    found = [*convert(MODEL, SUMS)]
    assert {model.intercept for *_, model in found} == {float(np.float32(0.1))}
    scales = [float(np.float32(size / 127)) for size in (1.0, 0.3)]
    # on deviations 1 and 2 the weights are 1 and -0.6, the ends of the grid
    scale, least = float(np.float32((1 - float(np.float32(-0.6))) / 255)), float(np.float32(-0.6))
    assert {name: (bits, size, model.coef.tolist()) for name, bits, size, model in found} == {
        "float32": (32, 3 * 4, [1.0, float(np.float32(-0.3))]),  # two weights and the intercept
        "bfloat16": (16, 2 * 2 + 4, [1.0, -0.30078125]),  # 1.203125 / 4: 0.2998 is farther
        "a scale each": (8, 1 + 4 + 1 + 4 + 4, [127 * scales[0], -127 * scales[1]]),
        # codes, deviations; a grid; the intercept
        "min-max": (8, 2 * 1 + 2 * 4 + 4 + 4 + 4, [255 * scale + least, least / 2]),
    }


def test_weights_beyond_the_range_are_left_out_and_zeros_stay_zeros() -> None:
    for size in (1e39, 1e300):
        assert list(convert(LinearModel(np.array([size, 1.0]), size), SUMS)) == []
    for *_, found in convert(LinearModel(np.zeros(2), 1.5), SUMS):
        assert (found.coef.tolist(), found.intercept) == ([0.0, 0.0], 1.5)


def test_of_equal_bytes_the_best_is_picked_and_none_that_is_larger_and_worse() -> None:
    sizes = [(14, 0.1), (13, 0.4), (13, 0.2), (15, 0.2), (16, 0.05)]
    found = pick(Scored("", 8, size, growth, 0.5) for size, growth in sizes)
    assert [each[2:4] for each in found] == [(13, 0.2), (14, 0.1), (16, 0.05)]


def test_a_package_that_is_missing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        require("math", "nowhere")
    assert capsys.readouterr().err == "needs nowhere: pip install -r tests/requirements.txt\n"
