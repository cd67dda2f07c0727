"""Scores against scikit-learn's and small sums by hand."""

import math
from fractions import Fraction
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
from stages.quantizer.solve import quantize
from stages.regression import scores
from stages.regression.fit import fit, fold
from stages.regression.linear import LinearModel, largest_difference
from stages.regression.scores import Tally
from stages.regression.sums import ROWS
from tests.conftest import Rows, Trained


def tally(rows: Rows, model: LinearModel, quantized: LinearModel, blocks: int = 1) -> Tally:
    found = Tally((model, quantized), rows.sums.low, rows.sums.high)
    for block in np.array_split(rows.block, blocks):
        found.add(block)
    return found


def scored(rows: Rows, model: LinearModel) -> dict[str, float]:
    return scores.regression(rows.sums, tally(rows, model, model), 0)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = Rows(rng.normal(size=(100, 3)), rng.normal(size=100))
    model = LinearModel(rng.normal(size=3), rng.normal())
    prediction = model.predict(rows.X)
    assert scored(rows, model) == {
        "r2": round(r2_score(rows.y, prediction), 6),
        "mse": round(mean_squared_error(rows.y, prediction), 6),
        "rmse": round(root_mean_squared_error(rows.y, prediction), 6),
        "mae": round(mean_absolute_error(rows.y, prediction), 6),
        "mean": round(prediction.mean(), 6),
        "std": round(prediction.std(), 6),
        "min": round(prediction.min(), 6),
        "max": round(prediction.max(), 6),
    }


@settings(max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 20))
def test_neither_the_order_nor_the_blocks_of_rows_matter(seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    rows = Rows(rng.standard_cauchy(size=(40, 2)), rng.standard_cauchy(size=40))
    order = rng.permutation(40)
    models = LinearModel(np.array([1.0, -1 / 3]), 0.1), LinearModel(np.array([1.1, -1e-3]), 1e3)
    one = tally(rows, *models)
    other = tally(Rows(rows.X[order], rows.y[order]), *models, blocks=blocks)
    assert vars(one) == vars(other)
    # a rounding to units of the tally each, of which there are as many as fit 62 bits
    error = np.abs(models[1].predict(rows.X) - rows.y)
    assert one.mean(one.totals[1]) == pytest.approx(error.mean(), rel=1e-13)


@pytest.mark.parametrize("n", [1, 5, pytest.param(300_000, marks=pytest.mark.slow)])
def test_small_errors_of_large_terms_are_not_lost(n: int) -> None:
    # a prediction from two features near 1e9, which cancel out
    x = 1e9 + np.random.default_rng(0).integers(0, 2**20, n) / 2**20
    rows = Rows(np.column_stack([x, x]), np.full(n, -1e-4) * np.arange(1, n + 1) / n)
    model = LinearModel(np.array([1.0, -1.0]), 0.0)
    found = tally(rows, model, model, blocks=7 if n > 7 else 1)
    exact = sum(map(Fraction, np.abs(rows.y).tolist())) / n
    # half of a unit, which is 2^-86 of 2^33, and the rounding of the mean
    assert abs(found.mean(found.totals[0]) - exact) <= 2.0**-54 + 2.0**-66


def test_the_largest_block_of_the_largest_errors_fits() -> None:
    rows = Rows(np.full((ROWS, 1), 1.0), np.full(ROWS, -1.0))
    rows.X[0], rows.y[0] = -1.0, 1.0
    model = LinearModel(np.array([math.nextafter(1.0, 0)]), 0.0)
    found = tally(rows, model, model)
    assert found.mean(found.totals[0]) == 2 - 2**-53


def test_a_bound_is_round_up() -> None:
    assert scores._round_up(0.1) == 0.100001  # the double is above the tenth
    assert scores._round_up(0.25) == 0.25
    assert scores._round_up(math.nextafter(0.25, 1)) == 0.250001


def test_predictions_that_are_no_numbers_are_refused() -> None:
    model = LinearModel(np.array([1e200]), 0.0)
    with pytest.raises(OverflowError):
        Tally((model, model), np.array([0.0, 0.0]), np.array([1e200, 1.0]))


def test_growth_of_the_mse_by_hand() -> None:
    rows = Rows(np.array([[0.0], [1.0]]), np.array([0.0, 0.0]))
    before, after = LinearModel(np.array([0.0]), 1.0), LinearModel(np.array([1.0]), 1.0)
    assert scores.mse_growth_percent(rows.sums, before, after) == 150.0  # from 1 to (1 + 4) / 2


def test_a_perfect_fit_has_growth_too() -> None:
    rows = Rows(np.array([[1.0], [-1.0]]), np.array([1.0, -1.0]))
    perfect, off = LinearModel(np.array([1.0]), 0.0), LinearModel(np.array([1.0]), 2.0**-20)
    assert scores.mse_growth_percent(rows.sums, perfect, perfect) == 0
    expected = float(f"{100 * 2.0**-40 / 1e-12:.4g}")  # of 1e-12 of the variance
    assert scores.mse_growth_percent(rows.sums, perfect, off) == expected


@pytest.fixture(scope="module")
def bounds(trained: Trained) -> list[tuple[LinearModel, float]]:
    """Quantize in all ways, and give each its bound on the difference from the float model."""
    found = []
    low, high = trained.sums.low[:-1], trained.sums.high[:-1]
    for rounding in ("nearest", "optimal"):
        for bits in range(1, 17):
            quantized = quantize(trained.model.coef, trained.sums, bits, rounding).model
            found.append((quantized, largest_difference(trained.model, quantized, low, high)))
    return found


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=10, max_size=10))
def test_the_bound_holds_wherever_the_features_have_been(
    trained: Trained, bounds: list[tuple[LinearModel, float]], place: list[float]
) -> None:
    low, high = trained.sums.low[:-1], trained.sums.high[:-1]
    inside = np.clip(low + np.array(place) * (high - low), low, high)
    for quantized, bound in bounds:
        # the corner that is worst by the signs of the weights' errors, its opposite, and the place
        worst = np.where(quantized.coef > trained.model.coef, high, low)
        X = np.array([worst, np.where(worst == high, low, high), inside])
        difference = np.abs(quantized.predict(X) - trained.model.predict(X)).max()
        assert difference <= bound


def test_both_models_are_compared_on_both_tables() -> None:
    rng = np.random.default_rng(7)
    train, test = (Rows(rng.normal(size=(n, 2)), rng.normal(size=n)) for n in (30, 10))
    models = LinearModel(np.array([0.5, -3.0]), 3.0), LinearModel(np.array([0.5, -4.0]), 3.25)
    on = {
        part: (rows.sums, tally(rows, *models)) for part, rows in (("train", train), ("test", test))
    }
    found = scores.compare(models, on)
    for name, model in zip(("float", "quantized"), models, strict=True):
        for part, rows in (("train", train), ("test", test)):
            assert found[name][part] == scored(rows, model)
    difference = np.abs(0.25 - test.X[:, 1])
    change = found["quantization"]
    assert change["coef_error"] == {"mean": 0.5, "max": 1.0}
    assert change["intercept_error"] == 0.25
    assert change["prediction_difference"]["mean"] == round(difference.mean(), 6)
    assert change["prediction_difference"]["max"] == round(difference.max(), 6)
    # the farthest from 1/4 that the second feature has been in training, rounded up
    farthest = np.abs(0.25 - train.X[:, 1]).max()
    assert 0 <= change["prediction_difference"]["bound"] - farthest <= 1.1e-6
    before, after = (found[name]["test"]["r2"] for name in ("float", "quantized"))
    assert change["r2_drop"] == round(before - after, 6)


def test_one_feature_is_trained_and_quantized() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 1))
    rows = Rows(x, x[:, 0] * 3 + 1 + rng.normal(size=40) / 10)
    model = fold(fit(rows.sums), rows.sums)
    growths = [
        scores.mse_growth_percent(
            rows.sums, model, quantize(model.coef, rows.sums, bits, "optimal").model
        )
        for bits in range(1, 17)
    ]
    effect = float(np.abs(model.coef[0]) * rows.sums.std[0])
    error = float(scores.mse(rows.sums, model))
    for bits, growth in enumerate(growths, 1):
        # half a step of n bits is at most 2^-n of the weight; a hundredth is for the intercept
        assert growth <= 100 * (effect * 2.0**-bits) ** 2 / error * 1.0101
    assert sorted(growths, reverse=True) == growths


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
    lines = shortfalls(metrics_with(r2, drop), Gate(min_r2=None, max_r2_drop=0.001))
    assert len(lines) == len({*named} - {"gate.min_r2"})
