"""The reference data sets against a solution in rationals."""

from decimal import Decimal
from fractions import Fraction
from operator import mul

import pytest

from tests.regression.strd import DATASETS, Reference


def decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / value.denominator


@pytest.mark.parametrize("reference", DATASETS.values(), ids=DATASETS)
def test_the_data_give_the_certified_values(reference: Reference) -> None:
    n = len(reference.target)
    columns = [[Fraction(1)] * n, *reference.features, reference.target]
    products = [[sum(map(mul, a, b), Fraction()) for b in columns] for a in columns]
    p = len(columns) - 1
    # Gauss's elimination makes (1, coefficients, inverse) of (X'X, X'y, 1), and the sum of squared
    # residuals of y'y
    rows = [[*row, *(Fraction(i == j) for j in range(p))] for i, row in enumerate(products)]
    for i in range(p):
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(p + 1):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    variance = rows[p][p] / (n - p)
    total = products[p][p] - products[0][p] ** 2 / n
    found = [
        *(decimal(row[p]) for row in rows[:p]),
        *(decimal(variance * rows[j][p + 1 + j]).sqrt() for j in range(p)),
        decimal(variance).sqrt(),
        decimal(1 - rows[p][p] / total),
    ]
    values = (reference.residual_std, reference.r_squared)
    expected = [*reference.coef, *reference.std_errors, *values]
    # each certified value has 15 digits
    assert [float(f"{value:.14e}") for value in found] == expected
