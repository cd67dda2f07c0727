"""NIST's reference data sets: their certified values, and how exact the fit of them is."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from operator import mul
from typing import NamedTuple

import pytest

from stages.regression.fit import OWN, solve
from stages.regression.inference import estimate, residual_std
from tests.conftest import Rows
from tests.regression.strd import DATASETS, Reference

TOLERANCE = {"Filip": 1e-18}  # train.tolerance, with which no feature is left out


class Exact(NamedTuple):
    """A least squares solution, by Gauss's elimination in rationals."""

    coef: list[Fraction]  # the intercept first
    std_errors: list[Decimal]
    residual_std: Decimal
    r_squared: Decimal


def decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / value.denominator


def solve_exactly(features: Sequence[Sequence[Fraction]], target: Sequence[Fraction]) -> Exact:
    n = len(target)
    columns = [[Fraction(1)] * n, *features, target]
    products = [[sum(map(mul, a, b), Fraction()) for b in columns] for a in columns]
    p = len(columns) - 1
    # elimination makes (1, coefficients, inverse) of (X'X, X'y, 1), and the sum of squared
    # residuals of y'y
    rows = [[*row, *(Fraction(i == j) for j in range(p))] for i, row in enumerate(products)]
    for i in range(p):
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(p + 1):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    variance = rows[p][p] / (n - p)
    total = products[p][p] - products[0][p] ** 2 / n
    return Exact(
        [row[p] for row in rows[:p]],
        [decimal(variance * rows[j][p + 1 + j]).sqrt() for j in range(p)],
        decimal(variance).sqrt(),
        decimal(1 - rows[p][p] / total),
    )


@pytest.mark.parametrize("reference", DATASETS.values(), ids=DATASETS)
def test_the_data_give_the_certified_values(reference: Reference) -> None:
    found = solve_exactly(reference.features, reference.target)
    values = *map(decimal, found.coef), *found.std_errors, found.residual_std, found.r_squared
    certified = reference.residual_std, reference.r_squared
    # each certified value has 15 digits
    expected = [*reference.coef, *reference.std_errors, *certified]
    assert [float(f"{value:.14e}") for value in values] == expected


def as_stored(reference: Reference) -> Exact:
    """Return the solution for the table as it is stored, in doubles."""
    columns = [[*map(Fraction, column)] for column in (*reference.X.T.tolist(), reference.y)]
    return solve_exactly(columns[:-1], columns[-1])


def digits(found: Iterable[float], exact: Sequence[Fraction] | Sequence[Decimal]) -> str:
    """Return how many digits of the least exact number are right."""
    errors = []
    for one, other in zip(found, [Fraction(each) for each in exact], strict=True):
        if one != float(other):
            errors.append(float(abs(Fraction(float(one)) - other) / (abs(other) or 1)))
    return f"{max(0.0, -math.log10(max(errors))):.1f}" if errors else "all"


def measure_ours(reference: Reference, exact: Exact) -> list[str]:
    """Return the digits of coefficients, standard errors and residual deviation."""
    sums = Rows(reference.X, reference.y).sums
    solution, _ = solve(sums, TOLERANCE.get(reference.name, OWN))
    found = estimate(solution)
    return [
        digits(found["coefficient"], exact.coef),
        digits(found["std_error"], exact.std_errors),
        digits([residual_std(solution)], [exact.residual_std]),
    ]


@pytest.mark.parametrize("reference", DATASETS.values(), ids=DATASETS)
def test_coefficients_are_the_exact_ones_rounded(reference: Reference) -> None:
    assert measure_ours(reference, as_stored(reference))[0] == "all"
