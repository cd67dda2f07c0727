"""Exact sums against rationals: Python's fractions, which know no rounding."""

import itertools
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.project.cli import InputError
from stages.regression import sums as module
from stages.regression.sums import Learned, Sums, root
from tests.conftest import run, schema_of

# columns as they come, and as they should not
COLUMNS = {
    "plain": st.floats(-10, 10),
    "huge": st.floats(-1e90, 1e90),
    "tiny": st.floats(-1e-90, 1e-90),
    "heavy tail": st.integers(-300, 90).map(lambda e: 10.0**e) | st.floats(-1e90, 1e90),
    "constant": st.just(0.1),
    "zero": st.just(0.0),
    "far from 0": st.floats(-1, 1).map(lambda x: 1e9 + x),
    "integers": st.integers(-(2**53), 2**53).map(float),
    "subnormal": st.floats(-1e-310, 1e-310),
    "ends of the range": st.sampled_from([math.nextafter(2.0, 0), -2.0, 2.0, 2.0**-53]),
}


@st.composite
def tables(draw: st.DrawFn, most: int = 12) -> np.ndarray:
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=2, max_size=4))
    n_rows = draw(st.integers(1, most))
    columns = [draw(st.lists(COLUMNS[kind], min_size=n_rows, max_size=n_rows)) for kind in kinds]
    return np.array(columns, dtype=float).T


def sums_of(table: np.ndarray, *blocks: np.ndarray) -> Sums:
    return Sums.of(blocks or [table], table.min(axis=0), table.max(axis=0))


def whole_numbers(table: np.ndarray, exponents: Sequence[int]) -> list[list[int]]:
    """Count each value in units of its column: 1, then x / unit without its fraction."""
    units = [Fraction(2) ** int(e) for e in exponents]
    return [
        [1, *(math.trunc(Fraction(x) / unit) for x, unit in zip(row, units, strict=True))]
        for row in table.tolist()
    ]


@settings(max_examples=50)
@given(tables())
def test_the_sums_are_those_of_rationals(table: np.ndarray) -> None:
    found = sums_of(table)
    k = whole_numbers(table, found.exponents.tolist())
    size = range(table.shape[1] + 1)
    assert found.products.tolist() == [
        [sum(row[i] * row[j] for row in k) for j in size] for i in size
    ]


@given(tables())
def test_the_sums_are_those_of_the_table_unless_it_needs_too_many_digits(table: np.ndarray) -> None:
    found = sums_of(table)
    values: Any = [[1, *map(Fraction, row)] for row in table.tolist()]
    units: list[Any] = [1, *found.units]
    for i, j in itertools.product(range(len(units)), repeat=2):
        exact: Any = sum(row[i] * row[j] for row in values)
        if all(is_counted_whole(table[:, k - 1]) for k in (i, j) if k):
            assert found.products[i, j] * units[i] * units[j] == exact


def is_counted_whole(column: np.ndarray) -> bool:
    """Tell whether seven digits, of 18 bits and below the largest size, are enough."""
    largest = max(np.abs(column).max(), 2.0**-900)
    unit = Fraction(2) ** (math.frexp(largest)[1] + 1 - 7 * 18)
    return all((Fraction(x) / unit).denominator == 1 for x in column.tolist())


def test_a_column_has_no_more_digits_than_it_needs() -> None:
    for column, n_digits in {
        (0.0, 0.0): 1,
        (1.0, 52.0): 1,
        (2.0**-11, 32.0): 1,
        (2.0**-12, 32.0): 2,
        (0.1, 1e3): 4,
        (2.0**-108, -1.5): 7,
        (1e-300, -1.5): 7,
    }.items():
        found = sums_of(np.array([column]).T)
        _, size = np.frexp(max(map(abs, column)))
        assert found.exponents.tolist() == [size + 1 - 18 * n_digits]


@given(tables(), st.randoms(use_true_random=False), st.data())
def test_no_order_and_no_blocks_change_a_bit(
    table: np.ndarray, random: Any, data: st.DataObject
) -> None:
    order = random.sample(range(len(table)), len(table))
    cuts = data.draw(st.lists(st.integers(1, len(table)), max_size=3).map(sorted))
    blocks = [block for block in np.split(table[order], cuts) if len(block)]
    expected = sums_of(table)
    ends = expected.low, expected.high
    first, *others = (Sums.of([block], *ends) for block in blocks)
    for found in (sums_of(table, *blocks), sum(others, first)):
        assert (found.products == expected.products).all()
        assert (found.exponents == expected.exponents).all()
    rest = expected.without(first)
    assert (rest.products == sum(others, Sums.of([], *ends)).counted_in(rest.exponents)).all()


@pytest.mark.parametrize("rows", [1, 5])
def test_blocks_may_be_of_any_size(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(0).normal(size=(100, 3))
    expected = sums_of(table).products
    monkeypatch.setattr(module, "ROWS", rows)
    assert (sums_of(table, table[:50], table[50:]).products == expected).all()


def test_what_lies_below_seven_digits_is_cut_off() -> None:
    unit, ends = 2.0**-124, (np.array([-1.0]), np.array([1.0]))
    values = [1.0, unit, -unit, math.nextafter(unit, 0), -1.5 * unit, math.nextafter(2 * unit, 0)]
    found = [Sums.of([np.array([[x]])], *ends).means[0] for x in values]
    assert found == [1, unit, -unit, 0, -unit, unit]


@given(st.integers(-130, 2), st.booleans())
def test_the_double_below_a_power_of_two_is_counted_as_it_is(power: int, negative: bool) -> None:
    x = math.nextafter(2.0**power, 0) * (-1) ** negative
    [mean] = Sums.of([np.array([[x]])], np.array([-4.0]), np.array([4.0])).means
    unit = Fraction(2) ** (3 + 1 - 7 * 18)
    assert mean == math.trunc(Fraction(x) / unit) * unit


def test_the_largest_block_of_the_largest_digits_is_exact() -> None:
    table = np.full((module.ROWS, 2), math.nextafter(1.0, 0))
    k = 2**53 - 1
    assert sums_of(table).products[1:, 1:].tolist() == [[module.ROWS * k**2] * 2] * 2
    digits = module.digits(table[:1].T * 2.0**17, [2, 2, 2])
    assert np.abs(digits).max() == 2**18 - 1
    assert module.ROWS * 2**36 <= 2**53
    assert 2**24 * module.DIGITS * 2**36 < 2**63  # rows of a block
    assert module.FULL * 2**36 <= 2**63
    assert 2**31 * 9 * 2 ** (2 * module.SHORT) <= 2**63


def test_a_value_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the range"):
        Sums.of([np.array([[2.0**30], [math.nan]])], np.array([0.0]), np.array([1.0]))


KERNEL = """
import hashlib, numpy, sys
from stages.regression.sums import Sums
table = numpy.random.default_rng(1).standard_cauchy(size=(70_000, 40))
sums = Sums.of(numpy.split(table, 7), table.min(axis=0), table.max(axis=0))
print(hashlib.sha256(repr(sums.products.tolist()).encode()).hexdigest())
"""


@pytest.mark.slow
def test_every_kernel_and_number_of_threads_gives_the_same_integers() -> None:
    settings = (
        {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": threads}
        for kernel in ("Prescott", "Nehalem", "Sandybridge", "Haswell", "SkylakeX")
        for threads in "12"
    )
    done = [run("python", "-c", KERNEL, cwd=Path(), env=env) for env in settings]
    # a signal ends a kernel whose instructions the CPU lacks
    found = {each.stdout for each in done if each.returncode >= 0}
    assert len(found) == 1
    assert len(found.pop()) == 65


@given(tables())
def test_mean_variance_and_deviation_are_exact_or_correctly_rounded(table: np.ndarray) -> None:
    found = sums_of(table)
    k = whole_numbers(table, found.exponents.tolist())
    for j, exponent in enumerate(found.exponents.tolist()):
        values = [row[1 + j] * Fraction(2) ** exponent for row in k]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert (found.means[j], found.variances[j]) == (mean, variance)
        deviation = float(found.std[j])
        # no double is nearer to the root, whose square is between those of both middles
        below = (Fraction(deviation) + Fraction(math.nextafter(deviation, 0))) / 2
        above = (Fraction(deviation) + Fraction(math.nextafter(deviation, math.inf))) / 2
        assert below**2 <= variance <= above**2


def test_a_root_is_rounded_as_the_true_one_is() -> None:
    tie = 2**53 + 1  # between two doubles
    assert root(Fraction(tie**2)) == 2.0**53  # to even
    assert root(tie**2 + Fraction(1, 2**200)) == 2.0**53 + 2
    assert root(tie**2 - Fraction(1, 2**200)) == 2.0**53


def test_correlations_are_those_of_numpy() -> None:
    table = np.random.default_rng(1).normal(size=(50, 3)) * [1, 1e-50, 1e60] + [0, 0, 1e61]
    table[:, 1] += table[:, 0] * 1e-50
    found = sums_of(table).correlation
    np.testing.assert_allclose(found, np.corrcoef(table.T), rtol=0, atol=1e-13)
    assert found.diagonal().tolist() == [1.0] * 3


def test_a_constant_column_has_no_deviation_and_no_correlation() -> None:
    found = sums_of(np.column_stack([np.full(7, 0.1), np.arange(7.0)]))
    assert found.std.tolist() == [0.0, 2.0]
    assert found.correlation.tolist() == [[0.0, 0.0], [0.0, 1.0]]


@given(tables(), st.lists(st.floats(-1e9, 1e9), min_size=5, max_size=5))
def test_moments_of_a_combination_are_exact(table: np.ndarray, factors: list[float]) -> None:
    found = sums_of(table)
    constant, *factors = factors[: table.shape[1] + 1]
    units = [1, *(Fraction(2) ** e for e in found.exponents.tolist())]
    weights = [Fraction(w) * unit for w, unit in zip([constant, *factors], units, strict=True)]
    k = whole_numbers(table, found.exponents.tolist())
    values = [sum(w * x for w, x in zip(weights, row, strict=True)) for row in k]
    mean, square = found.moments(constant, factors)
    assert mean == sum(values) / len(values)
    assert square == sum(value**2 for value in values) / len(values)


def test_columns_can_be_left_out() -> None:
    table = np.random.default_rng(2).normal(size=(20, 4))
    kept = sums_of(table).of_features([0, 2])
    assert (kept.products == sums_of(table[:, [0, 2, 3]]).products).all()
    assert (kept.high == table[:, [0, 2, 3]].max(axis=0)).all()


# models/sums.json

SCHEMA = schema_of("toy", "y", ("a", 'b "é"'))
TABLE = np.array([[1.0, -0.5, 3.0], [2.0, 0.25, 4.0], [4.0, 0.0, -1.0]])


def test_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "sums.json"
    folds = [
        Sums.of([part], TABLE.min(axis=0), TABLE.max(axis=0)) for part in (TABLE[:2], TABLE[2:])
    ]
    module.save(Learned(SCHEMA, folds, [0.5, -1.0]), path)
    a, b = 2**14, 2**17  # a unit is 2^-17 of the power of two above 4, and above 1/2
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "format": "regression sums",
        "version": 3,
        "table": json.loads(msgspec.json.encode(SCHEMA)),
        "low": [1.0, -0.5, -1.0],
        "high": [4.0, 0.25, 4.0],
        "exponents": [-14, -17, -14],
        "folds": [
            [
                2,
                3 * a,
                -b // 4,
                7 * a,
                5 * a**2,
                0,
                11 * a**2,
                5 * b**2 // 16,
                -b * a // 2,
                25 * a**2,
            ],
            [1, 4 * a, 0, -a, 16 * a**2, 0, -4 * a**2, 0, 0, a**2],
        ],
        "r2": [0.5, -1.0],
    }
    back = module.load(path)
    assert (back.schema, back.r2) == (SCHEMA, [0.5, -1.0])
    assert (back.sums.products == sums_of(TABLE).products).all()
    assert (back.sums.low == TABLE.min(axis=0)).all()


@pytest.mark.parametrize(
    "damage", [{"table": {"target": 5}}, {"folds": [1, 2, 3]}, {"low": 1}, {"folds": [[1, 2]]}]
)
def test_a_damaged_file_is_refused_in_one_line(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "sums.json"
    module.save(Learned(SCHEMA, [sums_of(TABLE)], []), path)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | damage), encoding="utf-8")
    with pytest.raises(InputError, match=r"sums\.json is damaged, `dvc repro` makes it") as raised:
        module.load(path)
    assert "\n" not in str(raised.value)
