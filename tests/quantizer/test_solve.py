import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.predictor.document import odd
from stages.quantizer import solve
from stages.quantizer.closest import closest, reach
from stages.quantizer.solve import (
    BUDGET,
    SHARE,
    WINDOW,
    Problem,
    Quantized,
    gptq,
    nearest,
    plausible,
    polish,
    pose,
    quantize,
    round_to,
    search,
    shortest,
)
from stages.quantizer.solve import planes as round_planes
from stages.regression import scores
from stages.regression.fit import OWN, cholesky, fit, fold
from stages.regression.fit import solve as solve_exactly
from stages.regression.linear import LinearModel
from stages.regression.sums import Sums
from tests.conftest import Rows, random_correlation

WAYS = ("optimal", "gptq", "nearest")
WIDTHS = range(1, 17)


def some_rows(seed: int, n: int, n_rows: int = 24) -> Rows:
    """Make correlated features and a target, all multiples of 2^-10, so that sums are exact."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n_rows, n)) @ (rng.normal(size=(n, n)) + np.eye(n))
    y = mixed @ rng.normal(size=n) + rng.normal(size=n_rows) + 3
    return Rows(np.rint(mixed * 1024) / 1024, np.rint(y * 1024) / 1024)


def model_of(rows: Rows) -> LinearModel:
    return fold(fit(solve_exactly(rows.sums)[0]), rows.sums)


def factor_of(correlation: np.ndarray) -> np.ndarray:
    """Factor correlations in the order that they have."""
    return cholesky(correlation, range(len(correlation)))[0]


def find(coef: np.ndarray, sums: Sums, bits: int) -> tuple[np.ndarray, bool, int]:
    """Search for the best weights; return them, whether they are proven, and the nodes."""
    problem, place, _ = pose(coef, sums, bits)
    values, proven, nodes = search(problem, gptq(problem))
    return values[place], proven, nodes


def window_of(bits: int, weights: np.ndarray, C: np.ndarray, sigma: np.ndarray) -> Problem:
    """Make a problem whose features stay in their order."""
    factor = np.linalg.cholesky(C).T
    exponents = bits - np.frexp(weights)[1]
    return Problem(weights, sigma, C, factor, reach(factor), exponents, bits, WINDOW)


def weights_growth(sums: Sums, before: np.ndarray, after: np.ndarray) -> Fraction:
    """Return the variance of Σ δ_i x_i, exactly."""
    delta = [
        (Fraction(b) - Fraction(a)) * Fraction(2) ** int(e)
        for a, b, e in zip(before.tolist(), after.tolist(), sums.exponents, strict=False)
    ]
    total = sum(
        d * f * int(c)
        for d, row in zip(delta, sums.covariances[:-1], strict=True)
        for f, c in zip(delta, row[:-1], strict=True)
    )
    return Fraction(total) / sums.n_rows**2


def intercept_error(sums: Sums, model: LinearModel) -> Fraction:
    """Return how far the intercept is from the mean of y - X ŵ, exactly."""
    pairs = zip(model.coef.tolist(), sums.means, strict=False)
    best: Fraction = sums.means[-1] - sum(Fraction(weight) * mean for weight, mean in pairs)
    return Fraction(model.intercept) - best


def growth(sums: Sums, coef: np.ndarray, model: LinearModel) -> Fraction:
    """Return what a model adds to the MSE of the best one: by its weights and its intercept."""
    return weights_growth(sums, coef, model.coef) + intercept_error(sums, model) ** 2


def every_value(bits: int, exponents: range) -> tuple[np.ndarray, np.ndarray]:
    """List all values of the format with these exponents, and the exponent of each."""
    multipliers = np.arange(1 - 2**bits, 2**bits, 2)
    values = np.ldexp(multipliers, -np.array(exponents)[:, None]).ravel()
    return values, np.repeat(exponents, len(multipliers))


def brute_force(coef: np.ndarray, sums: Sums, bits: int, exponents: range) -> float:
    """Find the least δᵀCδ of all codes and exponents, these at most 15 apart."""
    values, exponent = every_value(bits, exponents)
    C, sigma, n = sums.correlation[:-1, :-1], sums.std[:-1], len(coef)
    # the axis of each feature
    shapes = [(-1, *(1,) * (n - 1 - i)) for i in range(n)]
    delta = [((values - coef[i]) * sigma[i]).reshape(shapes[i]) for i in range(n)]
    cost = sum(C[i, j] * delta[i] * delta[j] for i in range(n) for j in range(n))
    apart = [exponent.reshape(shape) for shape in shapes]
    for one, other in itertools.combinations(apart, 2):
        cost = np.where(abs(one - other) < WINDOW, cost, np.inf)
    return float(np.min(cost))


def check_format(found: Quantized, bits: int) -> None:
    multipliers = [odd(weight)[0] for weight in found.model.coef.tolist()]
    assert all(0 < abs(k) < 2**bits for k in multipliers)
    assert np.isfinite([*found.model.coef, found.model.intercept]).all()


# the best of all


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("n", "bits"),
    [*itertools.product((1, 2), (1, 2, 3)), (3, 1), pytest.param(3, 2, marks=pytest.mark.slow)],
)
def test_optimal_is_the_best_of_all_codes_and_exponents(n: int, bits: int, seed: int) -> None:
    rows = some_rows(seed, n)
    model, sums = model_of(rows), rows.sums
    best = brute_force(model.coef, sums, bits, range(-8, 24 if n == 3 else 40))
    values, proven, nodes = find(model.coef, sums, bits)
    assert proven
    assert nodes > 0
    found = float(weights_growth(sums, model.coef, values))
    assert found == pytest.approx(best, rel=1e-9, abs=1e-25)
    # an intercept of few bits adds little to it
    whole = quantize(model.coef, sums, bits, "optimal").model
    total = float(growth(sums, model.coef, whole))
    assert best * (1 - 1e-9) - 1e-25 <= total <= best * (1 + 1 / SHARE + 1e-9) + 1e-25


@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize(
    "coef",
    [
        [1.0, 1e-6],  # 2^20 apart: the window leaves no value near the small one
        [-3e-7, 0.7],
        [1.3, 2.0**-16],
        [5.3, 0.0],
        [0.0, 0.0],
        [1.5, -1.5],  # ties
        [2.0, 2.0],
    ],
)
def test_weights_of_hugely_different_size_get_the_best_of_all_windows(
    coef: list[float], bits: int
) -> None:
    rows = some_rows(11, 2)
    weights, sums = np.array(coef), rows.sums
    best = brute_force(weights, sums, bits, range(-8, 60))
    values, proven, _ = find(weights, sums, bits)
    assert proven == any(coef)
    if not best:
        assert values.tolist() == coef
    elif any(coef):
        assert float(weights_growth(sums, weights, values)) == pytest.approx(best, rel=1e-9)
    else:  # ever smaller values would be ever better, so that there is no best
        assert (np.abs(values * sums.std[:-1]) < 2.0**-30 * sums.std[-1]).all()


@pytest.mark.slow
@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-20, 20), st.floats(-20, 20), st.integers(1, 3))
def test_any_two_weights_get_the_best_of_all(
    seed: int, first: float, second: float, bits: int
) -> None:
    sums, coef = some_rows(seed, 2).sums, np.array([first, second])
    coef[np.abs(coef) < 1e-4] = 1e-4
    best = brute_force(coef, sums, bits, range(-20, 50))
    values, proven, _ = find(coef, sums, bits)
    assert proven
    found = float(weights_growth(sums, coef, values))
    assert found == pytest.approx(best, rel=1e-9, abs=1e-25)


@pytest.mark.parametrize("seed", range(3))
def test_no_narrower_width_is_better(seed: int) -> None:
    rows = some_rows(seed, 5, 60)
    model, sums = model_of(rows), rows.sums
    last = Fraction(10**9)
    for bits in range(1, 11):
        best = quantize(model.coef, sums, bits, "optimal")
        check_format(best, bits)
        assert best.optimal
        # the set of n bits holds that of n - 1; a hundredth is for the intercept
        weights = weights_growth(sums, model.coef, best.model.coef)
        assert weights <= last * (1 + Fraction(1, SHARE))
        last = weights


# the other two ways


def closest_value(target: float, values: np.ndarray) -> float:
    return float(values[np.abs(values - target).argmin()])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bits", [1, 3, 5])
def test_planes_is_gptq_by_conditional_means(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    C, sigma, weights = random_correlation(rng, n), np.exp(rng.normal(size=n)), rng.normal(size=n)
    problem = window_of(bits, weights, C, sigma)
    found, losses = round_planes(problem, np.arange(-3, 5))
    for start, in_window, loss in zip(range(-3, 5), found, losses, strict=True):
        values, _ = every_value(bits, range(start, start + WINDOW))
        delta = np.zeros(n)
        for i in reversed(range(n)):
            # with the errors behind i given, those up to i that cost least
            later = C[: i + 1, i + 1 :] @ delta[i + 1 :]
            wanted = -np.linalg.solve(C[: i + 1, : i + 1], later)[i] / sigma[i]
            value = closest_value(weights[i] + wanted, values)
            delta[i] = (value - weights[i]) * sigma[i]
            assert in_window[i] == value
        assert loss == pytest.approx(delta @ C @ delta, rel=1e-9)
        assert loss == pytest.approx(problem.loss(in_window), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("way", [gptq, nearest])
def test_the_window_is_the_one_that_suits_best(way: Any, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums, coef = some_rows(seed, 4).sums, rng.normal(size=4) * np.exp2(rng.integers(-12, 12, 4))
    problem, _, _ = pose(coef, sums, bits)
    if way is nearest:
        problem = replace(problem, factor=np.eye(4))
    _, losses = round_planes(problem, np.arange(-60, 60))
    assert problem.loss(way(problem)) == pytest.approx(losses.min(), rel=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_a_window_that_is_left_out_holds_no_better_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums, coef = some_rows(seed, 3).sums, rng.normal(size=3) * np.exp2(rng.integers(-9, 9, 3))
    problem, _, _ = pose(coef, sums, 1 + seed % 4)
    loss = problem.loss(gptq(problem)) * (1 + seed % 3)
    first, whole = plausible(problem, loss)
    assert whole
    _, losses = round_planes(problem, np.arange(-80, 80))
    better = np.arange(-80, 80)[losses < loss * (1 - 1e-9)]
    assert {*better.tolist()} <= {*first.tolist()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bits", [1, 2, 3])
def test_polish_ends_where_no_other_value_of_a_weight_helps(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, first = 4, -2
    C, sigma, weights = random_correlation(rng, n), np.exp(rng.normal(size=n)), rng.normal(size=n)
    problem = window_of(bits, weights, C, sigma)
    values, _ = every_value(bits, range(first, first + WINDOW))
    start = rng.choice(values, n)
    before = start.copy()
    found, cost = polish(problem, start, first, BUDGET)
    assert (start == before).all()
    assert cost > 0
    assert set(found) <= set(values)
    for i, value in itertools.product(range(n), np.unique(values)):
        moved = found.copy()
        moved[i] = value
        assert problem.loss(moved) >= problem.loss(found) * (1 - 1e-9)


def round_one(target: float, first: int, bits: int, width: int = WINDOW) -> float:
    problem = replace(window_of(bits, np.ones(1), np.eye(1), np.ones(1)), width=width)
    return float(round_to(np.array([target]), np.array([first]), problem)[0])


def test_ties_go_to_the_greater_multiplier_and_to_the_lower_exponent() -> None:
    at_0 = [round_one(target, 0, 3, width=1) for target in (2, -2, 0, 4, -4)]
    assert at_0 == [3, -1, 1, 5, -3]
    assert round_one(1.5, -1, 1, width=2) == 2  # 1 · 2^1 and 1 · 2^0 are as near
    assert round_one(0, 0, 3, width=3) == 0.25
    assert [round_one(x, 0, 3, width=1) for x in (100, -100, 8, -8)] == [7, -7, 7, -7]


@given(st.floats(-1e6, 1e6), st.integers(-30, 30), st.integers(1, 6))
def test_the_nearest_value_is_that_of_all(target: float, first: int, bits: int) -> None:
    values, _ = every_value(bits, range(first, first + WINDOW))
    found = round_one(target, first, bits)
    assert found in values
    assert abs(found - target) == np.abs(values - target).min()


# degenerate features and weights


def scaled(rows: Rows, powers: list[int]) -> Rows:
    return Rows(np.ldexp(rows.X, powers), rows.y)


@pytest.mark.parametrize(
    "powers",
    [
        [0, 9, -9],
        [298, 299, 300],  # 2^300 is about 1e90
        *(
            pytest.param(powers, marks=pytest.mark.slow)
            for powers in ([150, -150, 0], [-1, -300, -299])
        ),
    ],
)
def test_units_of_features_do_not_matter_to_the_growth(powers: list[int]) -> None:
    plain, other = some_rows(3, 3), scaled(some_rows(3, 3), powers)
    coef, other_coef = model_of(plain).coef, model_of(other).coef
    for bits in range(1, 5):
        one = quantize(coef, plain.sums, bits, "optimal")
        two = quantize(other_coef, other.sums, bits, "optimal")
        check_format(two, bits)
        total = growth(other.sums, other_coef, two.model)
        expected = growth(plain.sums, coef, one.model)
        assert total <= expected * (1 + Fraction(2, SHARE))
        assert two.optimal == one.optimal


@pytest.mark.slow
@pytest.mark.parametrize("power", [-900, -550, 400])
def test_the_unit_of_the_target_does_not_matter(power: int) -> None:
    plain = some_rows(0, 3)
    other = Rows(plain.X, np.ldexp(plain.y, power))
    coef, other_coef = model_of(plain).coef, model_of(other).coef
    for way in WAYS:
        for bits in range(1, 9):
            one = quantize(coef, plain.sums, bits, way)
            two = quantize(other_coef, other.sums, bits, way)
            assert (two.model.coef == np.ldexp(one.model.coef, power)).all()
            assert two.model.intercept == math.ldexp(one.model.intercept, power)
            assert (two.optimal, two.nodes) == (one.optimal, one.nodes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "coef", [[0.0, 0.0], [0.0, 1.0], [-3.0, -3.0], [1e-30, 1.0], [1e12, -1e-12], [1e150, 1e150]]
)
def test_degenerate_weights_have_a_result(coef: list[float], way: str) -> None:
    sums, weights = some_rows(5, 2).sums, np.array(coef)
    size = weights_growth(sums, np.zeros(2), weights) + sums.variances[-1] * Fraction(2) ** -60
    for bits in WIDTHS:
        found = quantize(weights, sums, bits, way)
        check_format(found, bits)
    least = growth(sums, weights, found.model)
    assert least <= size * Fraction(1, 10**8)


@pytest.mark.parametrize("seed", range(3))
def test_one_feature_has_the_nearest_value(seed: int) -> None:
    rows = some_rows(seed, 1)
    model = model_of(rows)
    for way in WAYS:
        for bits in WIDTHS:
            # the odd numbers of n bits at any exponent are all numbers of n bits
            mantissa, exponent = math.frexp(model.coef[0])
            best = round(mantissa * 2**bits) / 2**bits
            expected = abs(math.ldexp(best - mantissa, exponent))
            error = abs(quantize(model.coef, rows.sums, bits, way).model.coef[0] - model.coef[0])
            assert error <= expected or way == "optimal"
            assert error <= 2 * expected


@pytest.mark.slow
def test_two_features_that_are_almost_the_same() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    X = np.column_stack([x, x + rng.normal(size=400) * 1.4e-3])
    rows = Rows(X, X @ [1.3, -0.4] + rng.normal(size=400))
    model, sums = model_of(rows), rows.sums
    assert 0.99999 < sums.correlation[0, 1] < 0.9999995
    totals = {}
    for way in WAYS:
        for bits in range(1, 9):
            found = quantize(model.coef, sums, bits, way)
            check_format(found, bits)
            totals[way, bits] = growth(sums, model.coef, found.model)
            assert found.optimal == (way == "optimal")
    for bits in range(1, 9):
        assert totals["optimal", bits] <= min(totals["gptq", bits], totals["nearest", bits])
    best = brute_force(model.coef, sums, 2, range(-12, 30))
    assert float(totals["optimal", 2]) <= best * 1.01 * (1 + 1e-6)


@pytest.mark.slow
def test_hundreds_of_correlated_features_stay_within_the_budget() -> None:
    rng = np.random.default_rng(0)
    n = 200
    X = rng.normal(size=(1000, n)) + 0.5 * rng.normal(size=(1000, n)) @ rng.normal(size=(n, n))
    rows = Rows(X, X @ rng.normal(size=n) + rng.normal(size=1000))
    model, sums = model_of(rows), rows.sums
    for bits in (1, 2):
        best, gptq = (quantize(model.coef, sums, bits, way) for way in ("optimal", "gptq"))
        check_format(best, bits)
        assert not best.optimal
        assert 0 < best.nodes <= BUDGET // n
        assert growth(sums, model.coef, best.model) <= growth(sums, model.coef, gptq.model)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["powers", "counters", "huge"])
def test_no_table_takes_more_than_the_budget(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(80) / 8
    X = {
        "powers": t[:, None] ** np.arange(1, 8),
        "counters": np.column_stack([t, t * 8 + rng.integers(0, 2, 80), t + t**2 / 2**20]),
        "huge": rng.normal(size=(80, 4)) * [1e99, 1.0, 1e-99, 1.0],
    }[kind]
    rows = Rows(X, np.sin(t) + 0.1 * rng.normal(size=80))
    sums, coef = rows.sums, model_of(rows).coef
    spent: list[int] = []

    def count(*args: Any) -> Any:
        found = closest(*args)
        spent.append(found[2] * (solve.NODE + len(coef)))
        return found

    monkeypatch.setattr(solve, "closest", count)
    for bits in (1, 8, 16):
        spent.clear()
        check_format(quantize(coef, sums, bits, "optimal"), bits)
        assert sum(spent) <= BUDGET


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6))
def test_no_way_of_rounding_is_better_than_optimal(seed: int, n: int, bits: int) -> None:
    rows = some_rows(seed, n, n + 3)
    sums, model = rows.sums, model_of(rows)
    found = {way: quantize(model.coef, sums, bits, way).model for way in WAYS}
    error = {way: scores.mse(sums, one) for way, one in found.items()}
    assert error["optimal"] <= min(error.values()) * (1 + Fraction(1, 10**9))


def test_a_spent_budget_is_never_called_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = some_rows(1, 4)
    coef, sums = model_of(rows).coef, rows.sums
    for bits in (1, 2, 3):
        values, proven, nodes = find(coef, sums, bits)
        assert proven
        problem, place, _ = pose(coef, sums, bits)
        for budget in (0, 1, 1000, 10_000):
            monkeypatch.setattr(solve, "BUDGET", budget)
            cut, proven, visited = find(coef, sums, bits)
            assert not proven or (cut == values).all()
            assert visited <= nodes
            assert problem.loss(cut[np.argsort(place)]) >= problem.loss(values[np.argsort(place)])
            assert not proven or budget > 0
        monkeypatch.undo()


# the intercept


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(2))
def test_the_intercept_costs_a_hundredth_at_most_and_has_no_bit_to_spare(
    seed: int, way: str
) -> None:
    rows = some_rows(seed, 3)
    model, sums = model_of(rows), rows.sums
    for bits in WIDTHS:
        found = quantize(model.coef, sums, bits, way).model
        allowed = weights_growth(sums, model.coef, found.coef) / SHARE
        error = intercept_error(sums, found)
        assert error**2 <= allowed * (1 + Fraction(1, 10**9))
        best = Fraction(found.intercept) - error
        coarser = Fraction(2) ** (1 - odd(found.intercept)[1])
        assert (round(best / coarser) * coarser - best) ** 2 > allowed * (1 - Fraction(1, 10**9))


@given(
    st.fractions(-1000, 1000, max_denominator=10**6),
    st.fractions(Fraction(1, 10**12), 10**7, max_denominator=10**12),
)
def test_shortest_is_the_first_of_all_exponents(value: Fraction, tolerance: Fraction) -> None:
    found, error = shortest(value, tolerance)
    assert error == (found - value) ** 2 <= tolerance
    number, unit = found.numerator, Fraction(1, found.denominator)
    while number and number % 2 == 0:
        number, unit = number // 2, unit * 2
    others = (number - 1, number + 1) if number else ()  # 0 does not tell its unit
    assert all(abs(k * unit - value) >= abs(found - value) for k in others)
    if value**2 > tolerance:  # no exponent below does, with any number
        for unit in (unit * 2**k for k in range(1, 13)):
            middle = math.floor(value / unit)
            assert all((k * unit - value) ** 2 > tolerance for k in range(middle - 1, middle + 3))


def test_shortest_by_hand() -> None:
    tenth = Fraction(1, 10)
    by_hand = [("13/4", "0", "13/4"), ("0", "0", "0"), ("-13/4", "1/10", "-3"), ("5/2", "1/4", "2")]
    for texts in by_hand:
        value, tolerance, expected = map(Fraction, texts)
        assert shortest(value, tolerance) == (expected, (value - expected) ** 2)
    assert shortest(tenth, Fraction(1))[0] in (0, Fraction(1, 8))


# the factor


@pytest.mark.parametrize(
    "C",
    [
        [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]],
        [[1.0, 0.0], [0.0, 0.0]],
        [[1.0, 1 + 1e-15], [1 + 1e-15, 1.0]],  # what rounding may make of it
    ],
)
def test_cholesky_raises_pivots_that_rounding_has_lost(C: list[list[float]]) -> None:
    factor = factor_of(np.array(C))
    assert (np.diag(factor) >= math.sqrt(OWN) * (1 - 1e-15)).all()
    assert (np.tril(factor, -1) == 0).all()
    np.testing.assert_allclose(factor.T @ factor, C, atol=OWN + 1e-14)
