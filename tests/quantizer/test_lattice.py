import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.quantizer.lattice import SMALLEST_PIVOT, cholesky, closest, reach
from tests.conftest import random_correlation


def cost(factor: np.ndarray, target: np.ndarray, point: np.ndarray) -> float:
    return float(np.sum((factor @ (point - target)) ** 2))


def brute_force(factor: np.ndarray, target: np.ndarray, values: list[list[float]]) -> float:
    return min(cost(factor, target, np.array(point)) for point in itertools.product(*values))


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_cholesky_is_that_of_lapack(n: int) -> None:
    C = random_correlation(np.random.default_rng(n), n)
    before = C.copy()
    np.testing.assert_allclose(cholesky(C), np.linalg.cholesky(C).T, rtol=1e-9, atol=1e-15)
    assert (before == C).all()


@pytest.mark.parametrize(
    "C",
    [
        [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]],  # a feature twice
        [[1.0, 0.0], [0.0, 0.0]],  # a constant feature
        [[1.0, 1 - 2e-9], [1 - 2e-9, 1.0]],
        [[1.0, 1 + 1e-9], [1 + 1e-9, 1.0]],  # what rounding may make of it
    ],
)
def test_cholesky_raises_the_pivots_of_a_singular_matrix(C: list[list[float]]) -> None:
    factor = cholesky(np.array(C))
    assert (np.diag(factor) >= np.sqrt(SMALLEST_PIVOT)).all()
    assert (np.tril(factor, -1) == 0).all()
    # what is added to a pivot is all that differs
    difference = factor.T @ factor - C
    assert np.abs(difference - np.diag(np.diag(difference))).max() <= 1e-15
    assert difference.max() <= SMALLEST_PIVOT + 2e-9 + 1e-15


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_reach_bounds_the_ellipsoid_and_touches_it(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    C = random_correlation(rng, n)
    bounds = reach(cholesky(C))
    # the greatest δ_i with δᵀCδ ≤ 1 is √(C⁻¹)_ii, as Lagrange's condition gives
    np.testing.assert_allclose(bounds, np.sqrt(np.diag(np.linalg.inv(C))), rtol=1e-7)


value_sets = st.lists(
    st.lists(st.floats(-3, 3), min_size=1, max_size=5, unique=True).map(sorted),
    min_size=1,
    max_size=4,
)


@given(value_sets, st.integers(0, 10_000), st.data())
def test_closest_costs_what_brute_force_finds(
    values: list[list[float]], seed: int, data: st.DataObject
) -> None:
    n = len(values)
    factor = cholesky(random_correlation(np.random.default_rng(seed), n))
    target = data.draw(hnp.arrays(np.float64, n, elements=st.floats(-5, 5)))
    indices, proven, nodes = closest(factor, target.tolist(), values, math.inf, 10**6)
    assert indices is not None
    assert proven
    found = np.array([values[i][k] for i, k in enumerate(indices)])
    # objectives, not points: several may be equally good, to within rounding
    expected = brute_force(factor, target, values)
    assert cost(factor, target, found) <= expected * (1 + 1e-12) + 1e-25
    assert nodes >= n


@given(value_sets, st.integers(1, 3))
def test_closest_is_exact_for_singular_matrices(values: list[list[float]], rank: int) -> None:
    n = len(values)
    assume(rank < n)
    rng = np.random.default_rng(n)
    factor = cholesky(random_correlation(rng, n, rank))
    target = rng.normal(size=n)
    indices, proven, _ = closest(factor, target.tolist(), values, math.inf, 10**6)
    assert indices is not None
    assert proven
    found = np.array([values[i][k] for i, k in enumerate(indices)])
    assert cost(factor, target, found) <= brute_force(factor, target, values) * (1 + 1e-9) + 1e-20


def test_of_two_equally_near_values_the_lower_is_taken() -> None:
    indices, proven, _ = closest(np.eye(2), [0.5, 0.5], [[0.0, 1.0], [0.0, 1.0]], math.inf, 100)
    assert (indices, proven) == ([0, 0], True)


def test_nothing_is_found_at_or_above_the_bound() -> None:
    assert closest(np.eye(1), [0.5], [[0.0, 1.0]], 0.25, 100) == (None, True, 1)
    assert closest(np.eye(1), [0.5], [[0.0, 1.0]], 0.26, 100) == ([0], True, 1)


def test_the_budget_ends_the_search_and_says_so() -> None:
    rng = np.random.default_rng(0)
    factor = cholesky(random_correlation(rng, 20))
    values = [[float(k) for k in range(-4, 5)]] * 20
    target = (rng.normal(size=20) * 2).tolist()
    indices, proven, nodes = closest(factor, target, values, math.inf, 50)
    assert indices is not None  # 20 nodes down to the first leaf, which nearest-plane gives
    assert (proven, nodes) == (False, 50)
    more, _, _ = closest(factor, target, values, math.inf, 5_000)
    assert more is not None

    def cost_of(found: list[int]) -> float:
        return cost(factor, np.array(target), np.array([values[0][k] for k in found]))

    assert cost_of(more) <= cost_of(indices)
