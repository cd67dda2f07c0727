"""Hold the table of digits in docs to NIST's data sets."""

from pathlib import Path

import pytest
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from tests.regression.strd import DATASETS, Reference
from tests.regression.test_strd import Exact, as_stored, digits, measure_ours

PAGE = Path("docs/reproducibility.md")


def measure_theirs(reference: Reference, exact: Exact) -> list[str]:
    """Return the digits of scikit-learn's coefficients, as they are and on scaled features."""
    X, y = reference.X, reference.y
    plain, scaler = LinearRegression().fit(X, y), StandardScaler().fit(X)
    scaled = LinearRegression().fit(scaler.transform(X), y)
    coef = scaled.coef_ / scaler.scale_
    raw = [scaled.intercept_ - coef @ scaler.mean_, *coef]
    return [digits(each, exact.coef) for each in ([plain.intercept_, *plain.coef_], raw)]


@pytest.mark.parametrize("reference", DATASETS.values(), ids=DATASETS)
def test_coefficients_have_the_digits_that_the_page_says(reference: Reference) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith(f"| {reference.name} |")]
    _, *told = (cell.strip() for cell in line.strip("|").split("|"))
    exact = as_stored(reference)
    assert told[:3] == measure_ours(reference, exact)
    # these depend on the BLAS
    for cell, found in zip(told[3:], measure_theirs(reference, exact), strict=True):
        assert float(cell) == pytest.approx(float(found), abs=2)
