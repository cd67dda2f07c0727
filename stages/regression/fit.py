"""Fit the linear regression from the exact sums of its rows.

scikit-learn fits p + 1 rows that have the correlations of all. Iterative refinement (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, chapter 12) with residuals in integers makes
this the solution of the normal equations to some 190 bits. So no BLAS leaves a trace.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from stages.project.cli import InputError
from stages.regression.linear import Floats, LinearModel
from stages.regression.sums import Integers, Sums, fractions

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

OWN = 1e-13  # least share of its variance that the other features leave unexplained
BITS = 192  # behind the point, for weights on standardised features and target
MORE = 64  # bits of a deviation, which a small one needs
ROUNDS = 100


def cholesky(correlation: Floats, order: Sequence[int] = ()) -> tuple[Floats, list[int]]:
    """Return R, upper triangular, and the order of the columns whose correlations are RᵀR.

    The pivot of a column is the share of its variance that no combination of the columns before it
    explains. By default the largest comes first, of equal ones the first column, and columns whose
    pivot is at most 1e-13 are left out: rounding makes about 1e-16 of a zero, and a condition
    number of 2e6 leaves 2e-13. In an order that is given, such a pivot is raised to 1e-13. All
    operations are elementwise, as the last bits of LAPACK depend on the CPU.
    """
    rest = correlation.copy()
    rows, kept = [], []
    for i in order or _largest_first(rest):
        root = math.sqrt(max(rest[i, i], OWN))
        row = rest[i] / root
        row[i] = root
        rest -= row[:, None] * row
        rows.append(row)
        kept.append(i)
    return np.triu(np.array(rows).reshape(-1, len(rest))[:, kept]), kept


def _largest_first(rest: Floats) -> Iterator[int]:
    while rest.diagonal().max() > OWN:
        yield int(rest.diagonal().argmax())


def independent(sums: Sums) -> list[int]:
    """Return the features, in their order, that do not follow from others."""
    return sorted(cholesky(sums.correlation[:-1, :-1])[1])


def fit(sums: Sums) -> "Pipeline":
    """Fit `scaler` and `regression`; no feature of `sums` may depend on the others."""
    from scipy.linalg import helmert, solve_triangular
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    R, order = cholesky(sums.correlation[:-1, :-1])
    # p + 1 rows of mean 0 and deviation 1 whose correlations are RᵀR: helmert is orthogonal
    spread = math.sqrt(len(R) + 1) * helmert(len(R) + 1).T
    explained = solve_triangular(R, sums.correlation[order, -1], trans="T")
    regression = LinearRegression().fit(spread @ R, spread @ explained)
    weights = refine(regression.coef_, R, sums.of_columns([*order, len(order)]))[np.argsort(order)]

    scaler = StandardScaler().fit(spread)
    scaler.mean_, scaler.scale_ = sums.means[:-1].astype(float), sums.std[:-1]
    scaler.var_ = sums.variances[:-1].astype(float)
    scaler.n_samples_seen_ = sums.n_rows
    *means, mean_y = sums.means
    regression.coef_ = (weights * fractions(scaler.scale_)).astype(float)
    regression.intercept_ = float(mean_y + weights @ (fractions(scaler.mean_) - means))
    regression.rank_ = len(R)
    del regression.singular_  # no prediction needs it, and its last bits depend on the CPU
    return Pipeline([("scaler", scaler), ("regression", regression)])


def refine(start: Floats, factor: Floats, sums: Sums) -> Integers:
    """Return the weights on raw features, from those on standardised ones and R of `cholesky`."""
    from scipy.linalg import cho_solve

    # columns are counted in other powers of two, so that their deviations are large and alike
    sizes = [c.bit_length() // 2 for c in sums.covariances.diagonal()]
    shifts = np.array([max(sizes) + MORE - size for size in sizes], dtype=object)
    covariances = sums.covariances << np.add.outer(shifts, shifts)
    *roots, root_y = map(math.isqrt, covariances.diagonal())
    # X has BITS binary places; units are X for a standardised weight of 1
    units = np.array([(root_y << BITS) / root for root in roots])
    scales = np.array([root * root_y << BITS for root in roots], dtype=object)
    A, a = covariances[:-1, :-1], covariances[:-1, -1] << BITS

    whole = np.frompyfunc(round, 1, 1)  # to Python's integers
    X = whole(start * units)
    for _ in range(ROUNDS):
        residual = ((a - A @ X) / scales).astype(np.float64)
        change = whole(cho_solve((factor, False), residual) * units)
        X = X + change
        if max(map(abs, change)) <= 1:
            *exponents, exponent_y = sums.exponents - shifts
            return np.asarray(X * [Fraction(2) ** (exponent_y - e - BITS) for e in exponents])
    raise InputError("the features depend on one another too closely; leave out one of them")


def fold(pipeline: "Pipeline", sums: Sums) -> LinearModel:
    """Return the weights on raw features, with the intercept that is best for them as rounded."""
    coef = pipeline["regression"].coef_ / pipeline["scaler"].scale_
    return LinearModel(coef, sums.intercept(coef))
