"""Forward selection against brute force by scikit-learn."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.regression.fit import OWN
from stages.regression.selection import score_each, select
from stages.regression.sums import leave_out
from tests.conftest import Rows


def score(rows: Rows, fold: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    model, split = make_pipeline(StandardScaler(), LinearRegression()), PredefinedSplit(fold)
    return np.asarray(cross_val_score(model, rows.X[:, columns], rows.y, cv=split))


def select_by_brute_force(rows: Rows, fold: np.ndarray, n: int, most: int) -> list[list[int]]:
    chosen = [*range(n)]
    found = [chosen]
    for _ in range(most):
        tried = {
            j: score(rows, fold, [*chosen, j]) for j in range(n, rows.X.shape[1]) if j not in chosen
        }
        best = max(tried, key=lambda j: tried[j].mean())
        before = score(rows, fold, chosen)
        if tried[best].mean() - before.mean() <= before.std(ddof=1) / math.sqrt(len(before)):
            break
        chosen = [*chosen, best]
        found.append(chosen)
    return found


@pytest.mark.parametrize("seed", [0, *(pytest.param(j, marks=pytest.mark.slow) for j in (1, 2, 3))])
def test_it_selects_as_brute_force_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(80, 9)) @ rng.normal(size=(9, 9)) + rng.normal(size=9)
    rows = Rows(X, X @ (rng.normal(size=9) * rng.integers(0, 2, 9)) + 3 * rng.normal(size=80))
    fold = rng.integers(0, 4, 80)
    expected = select_by_brute_force(rows, fold, 2, 5)
    found = [*select(rows.sums_of_folds(fold), 2, OWN, 5)]
    assert [columns for columns, _ in found] == expected
    for columns, r2 in found:
        np.testing.assert_allclose(r2, score(rows, fold, columns), rtol=1e-9)


def test_each_column_is_scored_as_by_a_fit_with_it() -> None:
    rng = np.random.default_rng(9)
    X = (rng.normal(size=(60, 6)) + 7) * 10.0 ** np.arange(-9, 9, 3)
    rows, fold = Rows(X, X[:, 0] * 1e9 + rng.normal(size=60)), np.repeat([0, 1, 2], 20)
    found = score_each(leave_out(rows.sums_of_folds(fold)), [0, 3], [1, 2, 4, 5])
    expected = [score(rows, fold, [0, 3, j]).mean() for j in (1, 2, 4, 5)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_columns_that_follow_from_others_are_never_chosen() -> None:
    rng = np.random.default_rng(2)
    x, z, noise = rng.normal(size=(3, 50))
    rows = Rows(np.column_stack([x, z, x + z, np.full(50, 3.0)]), x + z + noise / 9)
    folds = rows.sums_of_folds(np.repeat([0, 1], 25))
    assert (score_each(leave_out(folds), [0, 1], [2, 3]) == -np.inf).all()
    assert [columns for columns, _ in select(folds, 2, OWN, 9)] == [[0, 1]]
