"""Fit the linear regression from the exact sums of its rows.

Iterative refinement (Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 12) with
residuals in integers solves the normal equations to some 190 bits. scikit-learn's model is fitted
to p + 1 rows that have the correlations of all, and gets these numbers: so no BLAS leaves a trace.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from stages.project.cli import InputError
from stages.regression.linear import Floats, LinearModel
from stages.regression.sums import Integers, Sums, fractions

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

OWN = 1e-13  # least share of its variance that the other features leave unexplained, of doubles
DOUBTFUL, PRECISION = 1e-6, 100  # a share for which doubles are too rough, and digits that are not
MOST = 100  # features, of which so many digits take a second
BITS = 192  # behind the point, for weights on standardised features and target
MORE = 64  # bits of a deviation, which a small one needs
ROUNDS = 100


def cholesky(
    correlation: Floats | Integers, order: Sequence[int] = (), least: float | Decimal = OWN
) -> tuple[Floats, list[int]]:
    """Return R, upper triangular, and the order of the columns whose correlations are RᵀR.

    The pivot of a column is the share of its variance that no combination of the columns before it
    explains. By default the largest comes first, of equal ones the first column, and columns whose
    pivot is at most `least` are left out: rounding makes about 1e-16 of a zero, and a condition
    number of 2e6 leaves 2e-13. In an order that is given, such a pivot is raised to `least`. All
    operations are elementwise, as the last bits of LAPACK depend on the CPU.
    """
    rest = correlation.copy()
    rows, kept = [], []
    for i in order or _largest_first(rest, least):
        root = np.sqrt(max(rest[i, i], least))
        row = rest[i] / root
        row[i] = root
        rest -= row[:, None] * row
        rows.append(row)
        kept.append(i)
    return np.triu(np.array(rows, float).reshape(-1, len(rest))[:, kept]), kept


def _largest_first(rest: Floats | Integers, least: float | Decimal) -> Iterator[int]:
    while rest.diagonal().max() > least:
        yield int(rest.diagonal().argmax())


def factor(sums: Sums, tolerance: float) -> tuple[Floats, list[int]]:
    """Return R and the features, by `cholesky`, that do not follow from others.

    Where a share is small, decimals of 100 digits tell it, unless the table is wide.
    """
    R, order = cholesky(sums.correlation[:-1, :-1], least=tolerance)
    is_clear = bool(order) and R.diagonal().min() ** 2 > DOUBTFUL and tolerance >= OWN
    if is_clear or len(sums.correlation) > MOST:
        return R, order
    with localcontext() as context:
        context.prec = PRECISION
        covariances = np.vectorize(Decimal, otypes=[object])(sums.covariances[:-1, :-1])
        roots = np.array([x.sqrt() or 1 for x in covariances.diagonal()])
        return cholesky(covariances / np.outer(roots, roots), least=Decimal(tolerance))


@dataclass(frozen=True, eq=False)
class Solution:
    """The least squares solution of sums, whose features do not depend on one another."""

    sums: Sums
    weights: Integers  # on raw features, to some 190 bits
    factor: Floats  # R, for which RᵀR are the features' correlations
    inverse: Floats  # of R: UUᵀ is the inverse of the correlations

    @property
    def model(self) -> LinearModel:
        coef = self.weights.astype(float)
        return LinearModel(coef, self.sums.intercept(coef))


def solve(sums: Sums, tolerance: float = OWN) -> tuple[Solution, list[int]]:
    """Return the solution with the features, in their order, that do not follow from others."""
    R, order = factor(sums, tolerance)
    U = np.eye(len(R))
    for i in reversed(range(len(R))):  # elementwise, as in `cholesky`
        U[i] /= R[i, i]
        U[:i] -= R[:i, i, None] * U[i]
    features, place = sorted(order), np.argsort(order)
    weights = refine(R, sums.of_features(order))[place]
    return Solution(sums.of_features(features), weights, R[:, place], U[place]), features


def fit(solution: Solution) -> "Pipeline":
    """Fit `scaler` and `regression`."""
    from scipy.linalg import helmert
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    sums, R, U = solution.sums, solution.factor, solution.inverse
    # p + 1 rows of mean 0 and deviation 1 whose correlations are RᵀR: helmert is orthogonal
    spread = math.sqrt(len(R) + 1) * helmert(len(R) + 1).T
    regression = LinearRegression().fit(spread @ R, spread @ (U.T @ sums.correlation[:-1, -1]))
    scaler = StandardScaler().fit(spread)
    # now what BLAS has made gives way to the exact numbers
    scaler.mean_, scaler.scale_ = sums.means[:-1].astype(float), sums.std[:-1]
    scaler.var_ = sums.variances[:-1].astype(float)
    scaler.n_samples_seen_ = sums.n_rows
    *means, mean_y = sums.means
    weights = solution.weights
    regression.coef_ = (weights * fractions(scaler.scale_)).astype(float)
    regression.intercept_ = float(mean_y + weights @ (fractions(scaler.mean_) - means))
    regression.rank_ = len(R)
    del regression.singular_  # no prediction needs it, and its last bits depend on the CPU
    return Pipeline([("scaler", scaler), ("regression", regression)])


def refine(factor: Floats, sums: Sums) -> Integers:
    """Return the weights on raw features, in the order of R of `cholesky`."""
    from scipy.linalg import cho_solve

    # columns are counted in other powers of two, so that their deviations are large and alike
    sizes = [c.bit_length() // 2 for c in sums.covariances.diagonal()]
    shifts = np.array([max(sizes) + MORE - size for size in sizes], dtype=object)
    covariances = sums.covariances << np.add.outer(shifts, shifts)
    *roots, root_y = (math.isqrt(c) or 1 for c in covariances.diagonal())
    # X has BITS binary places; units are X for a standardised weight of 1
    units = np.array([(root_y << BITS) / root for root in roots])
    scales = np.array([root * root_y << BITS for root in roots], dtype=object)
    A, a = covariances[:-1, :-1], covariances[:-1, -1] << BITS

    whole = np.frompyfunc(round, 1, 1)  # to Python's integers
    X = np.zeros(len(roots), dtype=object)
    for _ in range(ROUNDS):
        residual = ((a - A @ X) / scales).astype(np.float64)
        change = whole(cho_solve((factor, False), residual) * units)
        X = X + change
        if max(map(abs, change), default=0) <= 1:
            *exponents, exponent_y = sums.exponents - shifts
            return np.asarray(X * [Fraction(2) ** (exponent_y - e - BITS) for e in exponents])
    raise InputError("the features depend on one another too closely; leave out one of them")


def fold(pipeline: "Pipeline", sums: Sums) -> LinearModel:
    """Return the weights on raw features, with the intercept that is best for them as rounded."""
    coef = pipeline["regression"].coef_ / pipeline["scaler"].scale_
    return LinearModel(coef, sums.intercept(coef))
