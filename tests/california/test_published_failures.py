"""Three ways in which published 8-bit versions of this model lose it, to the digits printed."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from stages.tables.datasets import DataSet
from tests.conftest import Trained


def codes_of(values: np.ndarray, scale: float, zero_point: float) -> np.ndarray:
    return np.rint(values / scale + zero_point)


def test_raw_features_turn_the_weights_rounding_errors_into_house_prices(
    california: DataSet, trained: Trained
) -> None:
    train, test = trained.train, trained.test
    raw = LinearRegression().fit(train.X, train.y)
    scale = np.ptp(raw.coef_) / 255
    zero_point = -raw.coef_.min() / scale
    coef = (codes_of(raw.coef_, scale, zero_point) - zero_point) * scale
    assert round(r2_score(test.y, test.X @ coef + raw.intercept_), 6) == -0.179884
    # the cause: raw weights differ by this factor and share one grid, and Population, up to 35,682
    # people, is multiplied by the error of the smallest
    sizes = np.abs(raw.coef_)
    assert round(sizes.max() / sizes.min(), -3) == 386_000
    assert list(california.columns)[sizes.argmin()] == "Population"
    assert f"{raw.coef_[sizes.argmin()]:.1e}" == "-2.0e-06"
    assert f"{coef[sizes.argmin()]:.1e}" == "5.4e-04"


def test_the_intercept_does_not_fit_the_weights_grid_and_wraps_round(trained: Trained) -> None:
    train, test = trained.train, trained.test
    raw = LinearRegression().fit(train.X, train.y)
    scale = np.ptp(raw.coef_) / 255
    zero_point = -raw.coef_.min() / scale
    coef = (codes_of(raw.coef_, scale, zero_point) - zero_point) * scale
    code = codes_of(np.array([raw.intercept_]), scale, zero_point).astype(np.int64)
    byte = code.astype(np.uint8)
    assert (code[0], byte[0]) == (-7668, 12)  # the cause: the grid has codes from 0 to 255
    intercept = (float(byte[0]) - zero_point) * scale
    assert round(r2_score(test.y, test.X @ coef + intercept), 4) == -1069.3508


def test_a_single_value_has_no_range_and_the_intercept_is_lost(trained: Trained) -> None:
    train, test = trained.train, trained.test
    scaler = StandardScaler().fit(train.X)
    model = LinearRegression().fit(scaler.transform(train.X), train.y)
    scale = np.ptp(model.coef_) / 255
    zero_point = np.rint(-model.coef_.min() / scale)
    coef = (codes_of(model.coef_, scale, zero_point) - zero_point) * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        own_scale = np.ptp([model.intercept_]) / 255
        intercept = np.nan_to_num(model.intercept_ / own_scale * own_scale)
    assert own_scale == 0  # so that the code is infinite, and the value NaN, which became 0
    first = scaler.transform(test.X[:5])
    error = np.abs(first @ coef + intercept - model.predict(first)).max()
    assert error == pytest.approx(2.0741341560147877, rel=1e-14)
