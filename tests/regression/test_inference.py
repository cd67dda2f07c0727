"""What a fit tells, against statsmodels and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.regression import scores
from stages.regression.fit import OWN, solve
from stages.regression.inference import COLUMNS, cross_validate, estimate, list_doubts, list_rows
from tests.conftest import Rows, Trained


def assert_is_that_of_statsmodels(rows: Rows) -> None:
    import statsmodels.api as sm  # here, as it takes a second
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    solution, _ = solve(rows.sums)
    found = estimate(solution)
    X = sm.add_constant(rows.X, has_constant="add")
    expected = sm.OLS(rows.y, X).fit()
    low, high = expected.conf_int().T
    for name, numbers in {
        "coefficient": expected.params,
        "std_error": expected.bse,
        "t": expected.tvalues,
        "p": expected.pvalues,
        "low": low,
        "high": high,
    }.items():
        np.testing.assert_allclose(found[name], numbers, rtol=1e-7, atol=1e-300, err_msg=name)
    np.testing.assert_allclose(found["per_std"][1:], expected.params[1:] * rows.X.std(axis=0))
    inflation = [variance_inflation_factor(X, j) for j in range(1, X.shape[1])]
    np.testing.assert_allclose(found["vif"][1:], inflation, rtol=1e-7)
    assert np.isnan([found["per_std"][0], found["vif"][0]]).all()
    assessed = scores.assess(solution.sums, solution.model)
    assert assessed["degrees_of_freedom"] == expected.df_resid
    for name, value in {
        "sigma": math.sqrt(expected.scale),
        "f": expected.fvalue,
        "adjusted_r2": expected.rsquared_adj,
    }.items():
        assert assessed[name] == pytest.approx(value, rel=1e-9, abs=0.5e-6), name


@pytest.mark.slow
def test_a_real_table_tells_what_statsmodels_tells(trained: Trained) -> None:
    assert_is_that_of_statsmodels(trained.train)


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 40))
def test_any_table_tells_what_statsmodels_tells(seed: int, p: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(p + more, p)) @ rng.normal(size=(p, p)) + rng.normal(size=p)
    y = X @ rng.normal(size=p) + rng.normal(size=p + more)
    solution, kept = solve(Rows(X, y).sums)
    if len(kept) == p and estimate(solution)["vif"][1:].max() < 1e6:
        assert_is_that_of_statsmodels(Rows(X, y))


def test_features_far_from_zero_and_of_other_sizes_change_nothing() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 1000, size=(50, 3)).astype(float)
    y = X @ [1.0, 2.0, 3.0] + rng.integers(0, 99, size=50)
    plain, moved = (estimate(solve(Rows(Z, y).sums)[0]) for Z in (X, X * 2.0**-20 + 2.0**20))
    for name in ("t", "p", "vif", "per_std"):
        assert (plain[name][1:] == moved[name][1:]).all()
    assert (plain["std_error"][1:] * 2.0**20 == moved["std_error"][1:]).all()


def test_without_degrees_of_freedom_only_the_coefficients_are_told() -> None:
    rows = Rows(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 2.0, 4.0]))
    solution, _ = solve(rows.sums)
    assert list_rows_of(rows) == [
        ["(intercept)", "-1", *[""] * 7],
        ["a", "3", "1.41421", *[""] * 5, "1.33333"],
        ["b", "2", "0.942809", *[""] * 5, "1.33333"],
    ]
    assert scores.assess(solution.sums, solution.model) == {}


def test_an_exact_fit_has_no_errors() -> None:
    x = np.arange(8.0)
    first, second = list_rows_of(Rows(x[:, None], 3 * x + 1))
    assert first == ["(intercept)", "1", "", "0", "inf", "0", "1", "1", ""]
    assert second == ["a", "3", "6.87386", "0", "inf", "0", "3", "3", "1"]


def list_rows_of(rows: Rows) -> list[list[str]]:
    return [*list_rows(["a", "b"][: rows.X.shape[1]], estimate(solve(rows.sums)[0]))]


def test_rows_have_six_digits(trained: Trained) -> None:
    names = [f"x{j}" for j in range(trained.train.X.shape[1])]
    rows = [*list_rows(names, estimate(solve(trained.sums)[0]))]
    assert [row[0] for row in rows] == ["(intercept)", *names]
    assert {len(row) for row in rows} == {len(COLUMNS)}
    cells = [cell for row in rows for cell in row[1:] if cell]
    assert all(cell == f"{float(cell):.6g}" for cell in cells)


def test_doubts_are_told_of_few_rows_and_by_vif_and_intervals() -> None:
    empty = dict.fromkeys(COLUMNS, "")
    rows = [
        empty | {"feature": "(intercept)", "low": "-1", "high": "1"},
        empty | {"feature": "a", "low": "-1e-200", "high": "1e-200", "vif": "1"},
        empty | {"feature": "b", "low": "-2e-200", "high": "-1e-200", "vif": "1000"},
        empty | {"feature": "c", "vif": "1000.1"},
    ]
    near = "c: others nearly make them up, by a VIF over 1,000"
    unsure = "the 95 % interval has 0 in it for 1 of 3 weights: a"
    assert [*list_doubts(rows, 30)] == [near, unsure]
    few = "29 rows are few for 3 features: expect a lower R² on others"
    assert [*list_doubts(rows, 29)] == [few, near, unsure]
    assert [*list_doubts(rows[:3:2], 10)] == []


# folds


@pytest.mark.parametrize("folds", [2, 5, 9])
def test_folds_are_scored_as_by_scikit_learn(folds: int, trained: Trained) -> None:
    rows = trained.train
    fold = np.random.default_rng(folds).integers(0, folds, len(rows.y))
    model = make_pipeline(StandardScaler(), LinearRegression())
    expected = cross_val_score(model, rows.X, rows.y, cv=PredefinedSplit(fold))
    found = cross_validate(rows.sums_of_folds(fold), OWN)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    told = scores.summarize_folds(found)
    assert told["mean"] == round(float(expected.mean()), 6)
    assert told["std"] == round(float(expected.std()), 6)


def test_a_feature_that_varies_in_one_fold_only_has_no_weight_there() -> None:
    rng = np.random.default_rng(1)
    x, fold = rng.normal(size=(2, 60)), np.repeat([0, 1, 2], 20)
    X = np.column_stack([x[0], fold == 2])
    rows = Rows(X, x[0] + x[1] / 9)
    alone = Rows(X[:, :1], rows.y)
    found, expected = (cross_validate(each.sums_of_folds(fold), OWN) for each in (rows, alone))
    assert found[2] == expected[2]
    assert found[0] != expected[0]


def test_folds_that_have_no_r2_are_not_told() -> None:
    rows = Rows(np.arange(9.0)[:, None], np.array([1.0, 2, 3, 4, 4, 4, 3, 2, 1]))
    same, empty = np.repeat([0, 1, 2], 3), np.repeat([0, 2], [4, 5])
    for fold in (same, empty):
        assert cross_validate(rows.sums_of_folds(fold), OWN) == []
    assert scores.summarize_folds([]) == {}
