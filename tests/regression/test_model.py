"""The trained model against the closed form and the published figures."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from stages.gate import shortfalls
from stages.project.params import Gate
from stages.quantizer.affine import quantize_nearest
from stages.quantizer.rounding import dequantize, quantize
from stages.regression import scores
from stages.regression.fit import fit, fold
from stages.regression.linear import LinearModel, significant
from stages.regression.moments import Moments
from tests.conftest import Trained


def published(value: float, digits: str) -> bool:
    """Whether `value`, rounded to as many decimals as `digits` has, is `digits`."""
    return f"{value:.{len(digits.partition('.')[2])}f}" == digits


def test_the_weights_solve_the_normal_equations(trained: Trained) -> None:
    A = np.column_stack([np.ones(len(trained.train.y)), trained.train.X])
    # by QR with the columns scaled to one size, to 9 digits like the stored weights
    size = np.abs(A).max(axis=0)
    Q, R = np.linalg.qr(A / size)
    solution = np.linalg.solve(R, Q.T @ trained.train.y) / size
    np.testing.assert_allclose(trained.model.coef, solution[1:], rtol=2e-8)
    assert trained.model.intercept == pytest.approx(solution[0], rel=2e-8)


def test_the_folded_model_is_the_pipeline(trained: Trained) -> None:
    pipeline = fit(trained.train.X, trained.train.y)
    assert pipeline["regression"].intercept_ == significant(2.071946937)
    assert published(trained.model.intercept, "-37.0233")
    difference = trained.model.predict(trained.test.X) - pipeline.predict(trained.test.X)
    # nine digits of weights whose products with the features reach about 54
    assert np.abs(difference).max() <= 5 * 54 * 5e-9


def test_published_figures_come_out(trained: Trained) -> None:
    train, test, model = trained.train, trained.test, trained.model
    on_train = scores.regression(train.y, model.predict(train.X))
    prediction = model.predict(test.X)
    on_test = scores.regression(test.y, prediction)
    assert published(on_train["r2"], "0.6126")
    assert published(on_train["mse"], "0.5179")
    assert published(on_train["mae"], "0.5286")
    assert published(on_test["r2"], "0.575788")
    assert published(on_test["mse"], "0.555892")
    assert published(on_test["mae"], "0.533200")
    assert published(on_test["rmse"], "0.7456")
    assert published(on_test["mean"], "2.0515")
    assert published(on_test["std"], "0.9161")
    assert published(on_test["min"], "-1.0138")
    assert published(on_test["max"], "11.5003")
    first = " ".join(f"{value:.6f}" for value in prediction[:5])
    assert first == "0.719123 1.764017 2.709659 2.838926 2.604657"
    assert test.y[:5].tolist() == [0.477, 0.458, 5.00001, 2.186, 2.78]


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, prediction = rng.normal(size=100), rng.normal(size=100)
    found = scores.regression(y, prediction)
    assert found["r2"] == round(r2_score(y, prediction), 6)
    assert found["mse"] == round(mean_squared_error(y, prediction), 6)
    assert found["rmse"] == round(root_mean_squared_error(y, prediction), 6)
    assert found["mae"] == round(mean_absolute_error(y, prediction), 6)


def test_growth_of_the_mse_by_hand() -> None:
    y, before, after = np.array([0.0, 0.0]), np.array([1.0, 1.0]), np.array([1.0, 2.0])
    assert scores.mse_growth_percent(y, before, after) == 150.0  # from 1 to (1 + 4) / 2


def test_moments_are_those_of_the_definition() -> None:
    X = np.random.default_rng(1).normal(size=(50, 3)) * [1, 10, 100]
    X[:, 1] += X[:, 0]
    moments = Moments.of(X)
    np.testing.assert_allclose(moments.correlation, np.corrcoef(X.T), atol=1e-9)
    np.testing.assert_allclose(moments.x_std, X.std(axis=0), rtol=1e-8)
    np.testing.assert_allclose(moments.x_mean, X.mean(axis=0), rtol=1e-8)


def test_a_constant_feature_has_deviation_1_and_correlation_0() -> None:
    X = np.column_stack([np.full(7, 0.1), np.arange(7.0)])
    moments = Moments.of(X)
    assert moments.x_std.tolist() == [1.0, 2.0]
    assert np.abs(moments.correlation - np.diag([0, 1])).max() <= 1e-16


@pytest.mark.parametrize("rounding", ["nearest", "optimal"])
def test_the_refitted_intercept_leaves_no_mean_error(trained: Trained, rounding: str) -> None:
    train = trained.train
    weights = next(quantize(trained.model.coef, trained.moments, rounding))
    quantized = dequantize(weights, trained.model, trained.moments)
    # the intercept behind the scaler is about 2, and has 9 digits as the weights have
    assert abs(np.mean(quantized.predict(train.X) - train.y)) <= 5e-9 + 1e-10


@pytest.fixture(scope="module")
def bounds(trained: Trained) -> list[tuple[LinearModel, float]]:
    """Quantize in all ways, and give each its bound on the difference from the float model."""
    found = []
    for rounding in ("nearest", "optimal"):
        for weights in quantize(trained.model.coef, trained.moments, rounding):
            quantized = dequantize(weights, trained.model, trained.moments)
            compared = scores.compare(trained.model, quantized, trained.train, trained.test)
            found.append((quantized, compared["quantization"]["prediction_difference"]["bound"]))
    return found


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_the_bound_holds_wherever_the_features_have_been(
    trained: Trained, bounds: list[tuple[LinearModel, float]], place: list[float]
) -> None:
    low, high = trained.train.X.min(axis=0), trained.train.X.max(axis=0)
    inside = np.clip(low + np.array(place) * (high - low), low, high)
    for quantized, bound in bounds:
        # the corner that is worst by the signs of the weights' errors, its opposite, and the place
        worst = np.where(quantized.coef > trained.model.coef, high, low)
        X = np.array([worst, np.where(worst == high, low, high), inside])
        difference = np.abs(quantized.predict(X) - trained.model.predict(X)).max()
        assert difference <= bound


def test_one_feature_and_features_that_repeat_are_trained_and_quantized() -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(size=(40, 1))
    y = one[:, 0] * 3 + 1 + rng.normal(size=40) / 10
    for X in (one, np.column_stack([one, one, np.full(40, 0.1)])):
        with warnings.catch_warnings(action="error"):
            model, moments = fold(fit(X, y)), Moments.of(X)
            weights = next(quantize(model.coef, moments, "optimal"))
            quantized = dequantize(weights, model, moments)
        assert scores.mse_growth_percent(y, model.predict(X), quantized.predict(X)) < 1


def test_a_feature_far_from_0_costs_no_precision() -> None:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(1000, 2))
    y = X @ [1.0, -2.0] + rng.normal(size=1000)
    far = X + np.array([1e9, -1e8])  # where doubles are 1e-7 apart
    near, moved = fold(fit(X, y)), fold(fit(far, y))
    np.testing.assert_allclose(moved.predict(far), near.predict(X), atol=1e-6)
    weights = quantize_nearest(moved.coef, Moments.of(far).x_std, 16)
    quantized = dequantize(weights, moved, Moments.of(far))
    assert abs(np.mean(quantized.predict(far) - moved.predict(far))) < 1e-6


def test_a_perfect_fit_has_growth_too() -> None:
    y = np.array([1.0, -1.0])
    assert scores.mse_growth_percent(y, y, y) == 0
    assert scores.mse_growth_percent(y, y, y + 1e-6) == 100.0  # 1e-12 of the variance


def metrics_with(r2: float, drop: float) -> dict[str, Any]:
    return {"test_r2": {"float": round(r2 + drop, 6), "quantized": r2}}


@pytest.mark.parametrize(
    ("r2", "drop", "named"),
    [
        (0.5, 0.001, []),
        (0.499999, 0.001, ["gate.min_r2"]),
        (0.5, 0.001001, ["gate.max_r2_drop"]),
        (-1.0, 1.5, ["gate.min_r2", "gate.max_r2_drop"]),
        (0.6, -0.2, []),
    ],
)
def test_the_gate_names_the_limits_that_are_missed(
    r2: float, drop: float, named: list[str]
) -> None:
    lines = shortfalls(metrics_with(r2, drop), Gate(min_r2=0.5, max_r2_drop=0.001))
    assert [
        name for name in ("gate.min_r2", "gate.max_r2_drop") if any(name in line for line in lines)
    ] == named
    assert len(lines) == len(named)
