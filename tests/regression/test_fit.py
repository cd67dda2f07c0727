"""The fit against a solution in rationals, and the normal equations' own."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from stages.regression.fit import cholesky, fit, solve
from stages.regression.sums import Sums
from tests.conftest import Rows, Trained, random_correlation


def rational(sums: Sums) -> tuple[list[Fraction], Fraction]:
    """Solve the normal equations by Gauss's elimination in rationals: weights and intercept."""
    units = [Fraction(1), *(Fraction(2) ** e for e in sums.exponents.tolist())]
    size = range(len(units))
    rows = [[sums.products[i, j] * units[i] * units[j] for j in size] for i in size[:-1]]
    for i, pivot in enumerate(rows):
        for k, row in enumerate(rows):
            if k != i:
                ratio = row[i] / pivot[i]
                rows[k] = [x - ratio * y for x, y in zip(row, pivot, strict=True)]
    intercept, *weights = (row[-1] / row[i] for i, row in enumerate(rows))
    return weights, intercept


def table(rng: np.random.Generator, n: int, p: int, condition: float) -> Rows:
    """Make features of about this condition number, once standardised."""
    U, _ = np.linalg.qr(rng.normal(size=(n, p)))
    V, _ = np.linalg.qr(rng.normal(size=(p, p)))
    X = U * np.geomspace(1, 1 / condition, p) @ V * 10.0 ** rng.integers(-9, 9, size=p)
    return Rows(X, U @ rng.normal(size=p) + rng.normal(size=n) / 10)


def assert_is_rational_solution(sums: Sums) -> None:
    solution, _ = solve(sums)
    pipeline = fit(solution)
    scaler, regression = pipeline["scaler"], pipeline["regression"]
    weights, intercept = rational(sums)
    scales, means = scaler.scale_.tolist(), scaler.mean_.tolist()
    expected = [float(w * Fraction(s)) for w, s in zip(weights, scales, strict=True)]
    assert regression.coef_.tolist() == expected
    shift = sum(w * Fraction(m) for w, m in zip(weights, means, strict=True))
    assert regression.intercept_ == float(intercept + shift)


@pytest.mark.parametrize("condition", [2e1, 2e2, 2e3, 2e4, 2e5, 2e6])
def test_coefficients_are_the_rational_solution_to_the_last_bit(condition: float) -> None:
    rng = np.random.default_rng(int(condition))
    for _ in range(3):
        rows = table(rng, 60, 6, condition)
        assert_is_rational_solution(rows.sums)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_any_table_has_the_rational_solution(seed: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_cauchy(size=(p + 8, p)) * 10.0 ** rng.integers(-90, 90, size=p)
    y = rng.normal(size=p + 8) * 10.0 ** rng.integers(-90, 90)
    sums = Rows(X, y).sums
    assert_is_rational_solution(solve(sums)[0].sums)


def test_a_weight_that_is_zero_is_zero() -> None:
    X = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    solution, _ = solve(Rows(X, np.array([1.0, 1, -1, -1]) / 3 + 0.1).sums)
    assert solution.model.coef[1] == 0.0


def test_a_weight_that_is_tiny_is_found() -> None:
    m = 2.0**52 + 12345
    rows = Rows(np.array([[m], [-m], [m + 1], [-m - 1]]), np.array([m, -m, 1 - m, m - 1]))
    assert_is_rational_solution(rows.sums)
    assert solve(rows.sums)[0].model.coef[0] != 0


@pytest.mark.parametrize("n", [2, 3, 4, 8, 9, 15, 24, 35, 100])
def test_a_feature_that_varies_by_one_ulp_is_fitted(n: int) -> None:
    x = np.array([1e16] * (n - 1) + [1e16 + 2])
    assert_is_rational_solution(Rows(x[:, None], np.arange(float(n))).sums)


@pytest.mark.parametrize("p", [1, 8, pytest.param(60, marks=pytest.mark.slow)])
def test_the_fit_is_that_of_scikit_learn_within_its_error(p: int) -> None:
    rows = table(np.random.default_rng(p), 500, p, condition=10)
    pipeline = fit(solve(rows.sums)[0])
    scaler = StandardScaler().fit(rows.X)
    regression = LinearRegression().fit(scaler.transform(rows.X), rows.y)
    for name in ("scale_", "var_", "n_samples_seen_"):
        ours, theirs = (getattr(each, name) for each in (pipeline["scaler"], scaler))
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    size = np.abs(regression.coef_).max()
    np.testing.assert_allclose(pipeline["regression"].coef_, regression.coef_, atol=1e-12 * size)
    assert pipeline["regression"].rank_ == pipeline.n_features_in_ == p
    expected = regression.predict(scaler.transform(rows.X))
    with warnings.catch_warnings(action="error"):
        np.testing.assert_allclose(pipeline.predict(rows.X), expected, atol=1e-12 * size)


def test_the_fit_of_a_real_table_is_the_rational_solution(trained: Trained) -> None:
    assert_is_rational_solution(trained.sums)


def test_the_folded_intercept_leaves_no_mean_error(trained: Trained) -> None:
    mean, _ = trained.sums.moments(trained.model.intercept, [*trained.model.coef, -1.0])
    assert abs(mean) <= math.ulp(trained.model.intercept) / 2


# columns that follow from others


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        (["x", "z"], [0, 1]),
        (["x", "c", "z", "x", "0"], [0, 2]),
        (["c", "0"], []),
        (["x", "z", "x + z"], [0, 1]),
        (["x", "1e9 + x", "z"], [0, 2]),
        (["x", "x + 1e-6 z"], [0, 1]),
        (["x", "x + 1e-8 z"], [0]),
    ],
)
def test_constant_and_dependent_columns_are_left_out(columns: list[str], kept: list[int]) -> None:
    rng = np.random.default_rng(0)
    x, z, y = np.rint(rng.normal(size=(3, 100)) * 1000) / 1024
    values = {
        "x": x,
        "z": z,
        "c": np.full(100, 0.1),
        "0": np.zeros(100),
        "x + z": x + z,
        "1e9 + x": 1e9 + x,
        "x + 1e-6 z": x + 1e-6 * z,
        "x + 1e-8 z": x + 1e-8 * z,
    }
    _, found = solve(Rows(np.column_stack([values[name] for name in columns]), y).sums)
    assert found == kept


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_the_factor_is_a_root_of_the_correlations(n: int) -> None:
    C = random_correlation(np.random.default_rng(n), n)
    R, order = cholesky(C)
    assert sorted(order) == list(range(n))
    np.testing.assert_allclose(R.T @ R, C[np.ix_(order, order)], atol=1e-14 * n)
    assert (np.diff(np.diag(R)) <= 1e-15).all()  # the largest pivot first
    assert (R == np.triu(R)).all()


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_as_many_columns_are_kept_as_the_rank(rank: int) -> None:
    C = random_correlation(np.random.default_rng(rank), 12, rank)
    assert len(cholesky(C)[1]) == rank


@pytest.mark.parametrize("degree", [5, 10, 20, 40])
def test_powers_of_one_feature_settle(degree: int) -> None:
    x = np.linspace(0, 1, 200)
    rows = Rows(x[:, None] ** np.arange(1, degree + 1), np.sin(5 * x))
    solution, kept = solve(rows.sums)
    assert_is_rational_solution(solution.sums)
    assert 5 <= len(kept) <= degree
