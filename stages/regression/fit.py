"""Fit the linear regression from the exact sums of its rows.

scikit-learn fits p + 1 rows that have the correlations of all rows: their triangular factor. Its
result is a start. Iterative refinement (Higham, Accuracy and Stability of Numerical Algorithms,
2002, chapter 12) with residuals in integers makes it the solution of the normal equations to some
190 bits, which is rounded once. So no BLAS and no order of rows leaves a trace.
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

OWN = 1e-13  # least share of its variance that the other features leave unexplained
BITS = 192  # behind the point, for weights on standardised features and target
MORE = 64  # bits of a root, which a small variance needs
ROUNDS = 100


def pivoted_cholesky(correlation: Floats) -> tuple[Floats, list[int]]:
    """Factor correlations, largest pivot first, and leave out the columns whose pivot is too small.

    The pivot of a column is the share of its variance that no combination of the columns before it
    explains; of equal ones the first column is taken. A column is left out if its pivot is at most
    1e-13: rounding makes about 1e-16 a column of a zero, and a condition number of 2e6 leaves
    pivots of 2e-13. All operations are elementwise, as the last bits of LAPACK depend on the CPU.

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
    """Return the features, in their order, that `pivoted_cholesky` keeps."""
    _, order = pivoted_cholesky(sums.correlation[:-1, :-1])
    return sorted(order)


def fit(sums: Sums) -> "Pipeline":
    """Fit a `StandardScaler` and a `LinearRegression`, each of whose numbers is rounded once.

    The regression is that of the values as `sums` counts them, behind the scaler as it is stored.

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
    offsets = (w * (m - x) for w, m, x in zip(weights, means, sums.means[:-1], strict=True))
    regression.intercept_ = float(sum(offsets, sums.means[-1]))
    regression.rank_ = len(R)
    del regression.singular_  # no prediction needs it, and its last bits depend on the CPU
    return Pipeline([("scaler", scaler), ("regression", regression)])


def refined(start: Floats, factor: Floats, sums: Sums) -> list[Fraction]:
    """Solve the normal equations, to some 190 bits for weights on standardised features.

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
    *roots, root_y = (math.isqrt(c << 2 * MORE) for c in sums.covariances.diagonal())
    # X is in fixed point, each with so many binary places that they are alike behind the scaler;
    # lifts bring all to most places, and units are X for a standardised weight of 1
    places = [BITS + root.bit_length() - root_y.bit_length() for root in roots]
    units = np.array([(root_y << p) / root for root, p in zip(roots, places, strict=True)])
    most = max(places)
    lifts = np.array([1 << most - p for p in places], dtype=object)
    sizes = np.array([root * root_y << most for root in roots], dtype=object)

    X = whole(start * units)
    for _ in range(ROUNDS):
        residual = ((a << most) - A @ (X * lifts) << 2 * MORE) / sizes
        change = whole(cho_solve((factor, False), residual.astype(np.float64)) * units)
        X = X + change
        if max(map(abs, change)) <= 1:
            exponents = sums.exponents[-1] - sums.exponents[:-1] - places
            pairs = zip(X, exponents.tolist(), strict=True)
            return [Fraction(x) * Fraction(2) ** exponent for x, exponent in pairs]
    raise InputError("the features depend on one another too closely; leave out one of them")


def whole(values: Floats) -> Integers:
    return np.array([round(value) for value in values.tolist()], dtype=object)


def fold(pipeline: "Pipeline", sums: Sums) -> LinearModel:
    """Fold the scaler into the regression: (x - μ) / σ · w + b = x · w/σ + an intercept.

    The intercept is the best one for the weights, so that their rounding leaves no mean error.
    """
    coef = pipeline["regression"].coef_ / pipeline["scaler"].scale_
    return LinearModel(coef, sums.intercept(coef))
