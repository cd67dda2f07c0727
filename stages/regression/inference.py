"""How sure a fit is: what follows from its sums, without another look at the rows.

For p features and n rows, whose errors are taken to be independent, normal and of one size. S has
the centred sums of products, C the correlations, and σ² = RSS / (n - p - 1) (Draper & Smith,
Applied Regression Analysis, 1998, chapters 5 and 16).
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stages.project.cli import plural
from stages.project.text import join
from stages.regression.fit import Solution, solve
from stages.regression.linear import Floats
from stages.regression.scores import r2
from stages.regression.sums import Sums, leave_out, root

COLUMNS = ("feature", "coefficient", "per_std", "std_error", "t", "p", "low", "high", "vif")
LEVEL = 0.95  # of the interval from low to high
FEW = 10  # training rows for each feature
INFLATED = 1000  # a variance: the other features explain 99.9 % of the feature's


def residual_std(solution: Solution) -> float:
    """Return σ, NaN without degrees of freedom."""
    n = solution.sums.n_rows
    freedom = n - len(solution.weights) - 1
    mean, square = solution.sums.moments(0.0, [*solution.weights, -1])
    return root(n * (square - mean**2) / freedom) if freedom > 0 else np.nan


def estimate(solution: Solution) -> Mapping[str, Floats]:
    """Return COLUMNS but the first, of shape (1 + n_features,), the intercept before the features.

    Standard errors are σ√(S⁻¹)ⱼⱼ, and σ√(1/n + x̄ᵀS⁻¹x̄) of the intercept; `p` is two-sided, of
    Student's t; `vif` are variance inflation factors, (C⁻¹)ⱼⱼ. NaN stands where there is no number.
    """
    from scipy.special import stdtr, stdtrit

    sums, U, n = solution.sums, solution.inverse, solution.sums.n_rows
    freedom, (*means, mean_y), std = n - len(U) - 1, sums.means, sums.std[:-1]
    coef = np.array([mean_y - solution.weights @ means, *solution.weights], dtype=float)
    vif = (U**2).cumsum(axis=1)[:, -1]
    along = (U * (np.array(means, dtype=float) / std)[:, None]).cumsum(axis=0)[-1]
    x_S_x = (along**2).cumsum()[-1]  # n x̄ᵀS⁻¹x̄
    error = residual_std(solution) * np.sqrt(np.array([1 + x_S_x, *(vif / std**2)]) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = coef / error
    reach, p = stdtrit(freedom, (1 + LEVEL) / 2) * error, 2 * stdtr(freedom, -np.abs(t))
    per_std, vif = (np.array([np.nan, *each]) for each in (coef[1:] * std, vif))
    found = coef, per_std, error, t, p, coef - reach, coef + reach, vif
    return dict(zip(COLUMNS[1:], found, strict=True))


def list_rows(features: Sequence[str], found: Mapping[str, Floats]) -> Iterator[list[str]]:
    """Yield rows of COLUMNS, in digits that do not depend on the machine."""
    for name, *numbers in zip(("(intercept)", *features), *found.values(), strict=True):
        yield [name, *("" if np.isnan(x) else f"{x:.6g}" for x in numbers)]


def list_doubts(coefficients: Sequence[Mapping[str, str]], n: int) -> Iterator[str]:
    """Yield what to doubt of a fit to n rows, for people, by the rows of COLUMNS."""
    _, *found = coefficients
    if n < FEW * len(found):
        yield f"{n:,} rows are few for {plural(len(found), 'feature')}: expect a lower R² on others"
    if inflated := [row["feature"] for row in found if float(row["vif"]) > INFLATED]:
        yield f"{join(inflated)}: others nearly make them up, by a VIF over {INFLATED:,}"
    known = (row for row in found if row["low"])
    if unsure := [row["feature"] for row in known if float(row["low"]) <= 0 <= float(row["high"])]:
        some = f"{len(unsure)} of {plural(len(found), 'weight')}"
        yield f"the 95 % interval has 0 in it for {some}: {join(unsure)}"


def cross_validate(folds: Sequence[Sums], tolerance: float) -> list[float]:
    """Return R² on each fold of the fit of the others; none if it is undefined on one."""
    found = []
    for fold, rest in leave_out(folds):
        if not fold.n_rows or not fold.variances[-1]:
            return []
        solution, features = solve(rest, tolerance)
        found.append(r2(fold.of_features(features), solution.model))
    return found
