"""Three ways in which published 8-bit versions of this model lose it, to the digits printed."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from tests.conftest import Trained


@pytest.fixture
def raw(trained: Trained) -> LinearRegression:
    return LinearRegression().fit(trained.train.X, trained.train.y)


def quantize(coef: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return weights through 256 codes, the scale, and the zero point, which is no whole number."""
    scale = np.ptp(coef) / 255
    zero_point = -coef.min() / scale
    return (np.rint(coef / scale + zero_point) - zero_point) * scale, scale, zero_point


def test_raw_weights_on_one_grid(raw: LinearRegression, trained: Trained) -> None:
    coef, *_ = quantize(raw.coef_)
    predicted = trained.test.X @ coef + raw.intercept_
    assert round(r2_score(trained.test.y, predicted), 6) == -0.179884
    # the cause: weights differ by this factor, and the smallest, of Population, is multiplied by up
    # to 35,682 people
    sizes = np.abs(raw.coef_)
    assert round(sizes.max() / sizes.min(), -3) == 386_000
    smallest = sizes.argmin()
    assert (f"{raw.coef_[smallest]:.1e}", f"{coef[smallest]:.1e}") == ("-2.0e-06", "5.4e-04")


def test_an_intercept_on_the_grid_of_the_weights(raw: LinearRegression, trained: Trained) -> None:
    coef, scale, zero_point = quantize(raw.coef_)
    code = np.rint([raw.intercept_ / scale + zero_point]).astype(np.int64)
    byte = code.astype(np.uint8)
    assert (code[0], byte[0]) == (-7668, 12)  # the cause: the grid has codes from 0 to 255
    predicted = trained.test.X @ coef + (float(byte[0]) - zero_point) * scale
    assert round(r2_score(trained.test.y, predicted), 4) == -1069.3508


def test_a_grid_for_a_single_value(trained: Trained) -> None:
    scaler = StandardScaler().fit(trained.train.X)
    model = LinearRegression().fit(scaler.transform(trained.train.X), trained.train.y)
    scale = np.ptp(model.coef_) / 255
    zero_point = np.rint(-model.coef_.min() / scale)
    coef = (np.rint(model.coef_ / scale + zero_point) - zero_point) * scale
    own_scale = np.ptp([model.intercept_]) / 255
    assert own_scale == 0  # the cause: the code is infinite, and the value NaN, which became 0
    first = scaler.transform(trained.test.X[:5])
    error = np.abs(first @ coef - model.predict(first)).max()
    assert error == pytest.approx(2.0741341560147877, rel=1e-14)
