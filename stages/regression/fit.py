"""Fit the linear regression from the exact sums of its rows.

scikit-learn fits p + 1 rows that have the means, deviations and correlations of all rows: the
triangular factor of the correlations. Its result is a start. Iterative refinement (Higham, Accuracy
and Stability of Numerical Algorithms, 2002, chapter 12) with residuals in integers makes it the
exact solution, which is rounded once. So no BLAS and no order of rows leaves a trace.
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from stages.project.cli import InputError
from stages.regression.linear import Floats, LinearModel
from stages.regression.sums import Integers, Sums

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

OWN = 1e-13  # the least share of its variance that a feature must have for itself
BITS = 192  # behind the point, for weights on standardised features and target
SETTLED = -160  # log2 of a correction, behind which there is none that could be seen
NOTHING = 2 ** (BITS - 100)  # a weight below is rounding: the exact one is 0
ROUNDS = 100


def pivoted_cholesky(correlation: Floats) -> tuple[Floats, list[int]]:
    """Factor correlations, the column first that has most for itself, as long as one has enough.

    The pivot of a column is the share of its variance that no combination of the columns before
    explains. One with a pivot of at most 1e-13 is left out: that is well above what rounding makes
    of a zero, about 1e-16 a column, and lets condition numbers of 2e6 pass. The largest pivot
    first, on a tie the first column, so that the smallest one tells how ill the condition is. By
    elementwise operations alone, as the last bits of LAPACK depend on the CPU.

    Parameters
    ----------
    correlation : ndarray of shape (n, n)

    Returns
    -------
    factor : ndarray of shape (n_kept, n_kept)
        Upper triangular R; RᵀR are the correlations of the columns that are kept, in their order.
    order : list of int
        The columns that are kept.
    """
    rest = correlation.copy()
    rows, order = [], []
    while (pivot := rest.diagonal().max()) > OWN:
        i = int(rest.diagonal().argmax())
        rows.append(rest[i] / math.sqrt(pivot))
        order.append(i)
        rest -= rows[-1][:, None] * rows[-1]
    return np.triu(np.array(rows).reshape(-1, len(rest))[:, order]), order


def independent(sums: Sums) -> list[int]:
    """Return the features, in their order, that do not follow from others: see above."""
    _, order = pivoted_cholesky(sums.correlation[:-1, :-1])
    return sorted(order)


def fit(sums: Sums) -> "Pipeline":
    """Fit a `StandardScaler` and a `LinearRegression`, every learned number correctly rounded.

    The regression belongs to the scaler as it is stored: behind its rounded means and deviations.

    Parameters
    ----------
    sums : Sums
        Of features that do not depend on one another, and then the target.

    Returns
    -------
    Pipeline
        With the steps `scaler` and `regression`, fitted.
    """
    from scipy.linalg import helmert, solve_triangular
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    R, order = pivoted_cholesky(sums.correlation[:-1, :-1])
    # p + 1 rows of mean 0 and deviation 1 whose correlations are RᵀR: helmert is orthogonal
    spread = math.sqrt(len(R) + 1) * helmert(len(R) + 1).T
    explained = solve_triangular(R, sums.correlation[order, -1], trans="T")
    regression = LinearRegression().fit(spread @ R, spread @ explained)
    sorted_sums = sums.of_columns([*order, len(order)])
    solved = dict(zip(order, refined(regression.coef_, R, sorted_sums), strict=True))
    weights = [solved[j] for j in range(len(order))]

    scaler = StandardScaler().fit(spread)
    scaler.mean_, scaler.var_, scaler.scale_ = sums.mean[:-1], sums.var[:-1], sums.std[:-1]
    scaler.n_samples_seen_ = sums.n_rows
    scales, means = (map(Fraction, part.tolist()) for part in (scaler.scale_, scaler.mean_))
    regression.coef_ = np.array([float(w * s) for w, s in zip(weights, scales, strict=True)])
    offsets = (w * (m - x) for w, m, x in zip(weights, means, sums.means, strict=False))
    regression.intercept_ = float(sum(offsets, sums.means[-1]))
    regression.rank_ = len(R)
    del regression.singular_  # no prediction needs it, and its last bits depend on the CPU
    return Pipeline([("scaler", scaler), ("regression", regression)])


def refined(start: Floats, factor: Floats, sums: Sums) -> list[Fraction]:
    """Solve the normal equations exactly, but for a last bit far behind those of a double.

    Parameters
    ----------
    start : ndarray of shape (n_features,)
        About the solution, for standardised features and target.
    factor : ndarray of shape (n_features, n_features)
        R of the correlations.
    sums : Sums

    Returns
    -------
    list of Fraction
        The weights on raw features.

    Raises
    ------
    InputError
        The features depend on one another so closely that the refinement does not settle.
    """
    from scipy.linalg import cho_solve

    A, a = sums.covariances[:-1, :-1], sums.covariances[:-1, -1]
    *roots, root_y = (math.isqrt(c) for c in sums.covariances.diagonal())
    # with weights w on standardised columns, the unknowns are X = w · σ_y/σ · 2^points
    points = [BITS + root.bit_length() - root_y.bit_length() for root in roots]
    units = np.array([(root_y << p) / root for root, p in zip(roots, points, strict=True)])
    most = max(points)
    lifts = np.array([1 << most - p for p in points], dtype=object)
    sizes = np.array([root * root_y << most for root in roots], dtype=object)

    X = whole(start * units)
    for _ in range(ROUNDS):
        residual = ((a << most) - A @ (X * lifts)) / sizes
        step = cho_solve((factor, False), residual.astype(np.float64))
        X = X + whole(step * units)
        if np.abs(step).max() < 2.0**SETTLED:
            exponents = sums.exponents[-1] - sums.exponents[:-1] - points
            return [
                Fraction(x if abs(x) >= NOTHING else 0) * Fraction(2) ** int(e)
                for x, e in zip(X, exponents, strict=True)
            ]
    raise InputError("the features depend on one another too closely; leave out one of them")


def whole(values: Floats) -> Integers:
    return np.array([int(value) for value in values.tolist()], dtype=object)


def fold(pipeline: "Pipeline", sums: Sums) -> LinearModel:
    """Fold the scaler into the regression: (x - μ) / σ · w + b = x · w/σ + an intercept.

    The intercept is the best one for the weights, so that their rounding leaves no mean error.
    """
    coef = pipeline["regression"].coef_ / pipeline["scaler"].scale_
    return LinearModel(coef, sums.intercept(coef))
