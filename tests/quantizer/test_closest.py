import itertools
import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.quantizer.closest import closest, reach
from tests.conftest import random_correlation


def cost(factor: np.ndarray, target: np.ndarray, point: np.ndarray) -> float:
    return float(np.sum((factor @ (point - target)) ** 2))


def brute_force(factor: np.ndarray, target: np.ndarray, values: list[list[float]]) -> float:
    return min(cost(factor, target, np.array(point)) for point in itertools.product(*values))


def factor_of(correlation: np.ndarray, lift: float = 0.0) -> np.ndarray:
    """Return R with RᵀR = correlation, by LAPACK."""
    lifted = correlation + lift * np.eye(len(correlation))
    return np.asarray(np.linalg.cholesky(lifted).T)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_reach_bounds_the_ellipsoid_and_touches_it(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    C = random_correlation(rng, n)
    bounds = reach(factor_of(C))
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
    factor = factor_of(random_correlation(np.random.default_rng(seed), n))
    target = data.draw(hnp.arrays(np.float64, n, elements=st.floats(-5, 5)))
    point, proven, nodes = closest(factor, target.tolist(), values, math.inf, 10**6)
    assert point is not None
    assert proven
    found = np.array(point)
    # objectives, not points: several may be equally good, to within rounding
    expected = brute_force(factor, target, values)
    assert cost(factor, target, found) <= expected * (1 + 1e-12) + 1e-25
    assert nodes >= n


@given(value_sets, st.integers(1, 3))
def test_closest_is_exact_for_almost_singular_matrices(
    values: list[list[float]], rank: int
) -> None:
    n = len(values)
    assume(rank < n)
    rng = np.random.default_rng(n)
    factor = factor_of(random_correlation(rng, n, rank), 1e-9)
    target = rng.normal(size=n)
    point, proven, _ = closest(factor, target.tolist(), values, math.inf, 10**6)
    assert point is not None
    assert proven
    found = np.array(point)
    assert cost(factor, target, found) <= brute_force(factor, target, values) * (1 + 1e-9) + 1e-20


def test_of_two_equally_near_values_the_lower_is_taken() -> None:
    point, proven, _ = closest(np.eye(2), [0.5, 0.5], [[0.0, 1.0], [0.0, 1.0]], math.inf, 100)
    assert (point, proven) == ([0, 0], True)


def test_nothing_is_found_at_or_above_the_bound() -> None:
    assert closest(np.eye(1), [0.5], [[0.0, 1.0]], 0.25, 100) == (None, True, 1)
    assert closest(np.eye(1), [0.5], [[0.0, 1.0]], 0.26, 100) == ([0], True, 1)


def test_the_budget_ends_the_search_and_says_so() -> None:
    rng = np.random.default_rng(0)
    factor = factor_of(random_correlation(rng, 20))
    values = [[float(k) for k in range(-4, 5)]] * 20
    target = (rng.normal(size=20) * 2).tolist()
    point, proven, nodes = closest(factor, target, values, math.inf, 50)
    assert point is not None  # 20 nodes down to the first leaf, which nearest-plane gives
    assert (proven, nodes) == (False, 50)
    more, _, _ = closest(factor, target, values, math.inf, 5_000)
    assert more is not None

    costs = [cost(factor, np.array(target), np.array(found)) for found in (more, point)]
    assert costs[0] <= costs[1]


def test_the_bound_of_one_coordinate_is_one_over_its_pivot() -> None:
    assert reach(np.array([[4.0]])).tolist() == [0.25]
    # δ = (1, -1) costs no more than 1 in the first term and 0 in the second
    assert reach(np.array([[1.0, 2.0], [0.0, 1.0]])).tolist() == [math.sqrt(5), 1.0]


def test_a_budget_of_nothing_proves_nothing() -> None:
    assert closest(np.eye(1), [0.5], [[0.0]], math.inf, 0) == (None, False, 0)


@given(value_sets, st.integers(0, 10_000), st.floats(0, 30))
def test_with_a_bound_the_best_below_it_is_found_or_none(
    values: list[list[float]], seed: int, bound: float
) -> None:
    rng = np.random.default_rng(seed)
    factor = factor_of(random_correlation(rng, len(values)))
    target = rng.normal(size=len(values)) * 2
    least = brute_force(factor, target, values)
    assume(abs(least - bound) > 1e-9 * bound)
    point, proven, _ = closest(factor, target.tolist(), values, bound, 10**6)
    assert proven
    assert (point is not None) == (least < bound)
    if point is not None:
        found = np.array(point)
        assert cost(factor, target, found) <= least * (1 + 1e-12) + 1e-25
