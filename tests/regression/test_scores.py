"""Scores against scikit-learn's and small sums by hand."""

import math
import re
import tempfile
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from stages.gate import shortfalls
from stages.project.cli import InputError
from stages.project.params import Gate
from stages.quantizer.solve import quantize
from stages.regression import scores
from stages.regression.linear import LinearModel, largest_difference
from tests.conftest import Rows, Trained


def scored(rows: Rows, model: LinearModel) -> dict[str, float]:
    return scores.score(rows.sums, model, rows.tally(model, model)[0])


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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = Rows(rng.standard_cauchy(size=(40, 2)), rng.standard_cauchy(size=40))
    order = rng.permutation(40)
    models = LinearModel(np.array([1.0, -1 / 3]), 0.1), LinearModel(np.array([1.1, -1e-3]), 1e3)
    assert rows.tally(*models) == Rows(rows.X[order], rows.y[order]).tally(*models)


@pytest.mark.parametrize("n", [1, 5, 30_000])
def test_small_errors_of_large_terms_are_not_lost(n: int) -> None:
    # a prediction from two features near 1e9, which cancel out
    x = 1e9 + np.random.default_rng(0).integers(0, 2**20, n) / 2**20
    rows = Rows(np.column_stack([x, x]), np.full(n, -1e-4) * np.arange(1, n + 1) / n)
    model = LinearModel(np.array([1.0, -1.0]), 0.0)
    exact = sum(map(Fraction, np.abs(rows.y).tolist()), Fraction()) / n
    # half of a unit, which is 2^-86 of 2^33
    assert abs(Fraction(rows.tally(model, model)[0]["mae"]) - exact) <= 2.0**-54


def test_the_mean_is_scored_as_by_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    train, test = (Rows(rng.normal(size=(n, 1)), rng.normal(3, 1, size=n)) for n in (50, 20))
    model, mean = LinearModel(np.array([1.0]), 0.0), float(train.sums.means[-1])
    tallies = (rows.tally(model, model, mean) for rows in (train, test))
    known = [*zip((train.sums, test.sums), tallies, strict=True)]
    found = scores.compare((model, model), *known)["baseline"]
    predicted = DummyRegressor().fit(train.X, train.y).predict(test.X)
    assert found == {
        "rmse": round(root_mean_squared_error(test.y, predicted), 6),
        "mae": round(mean_absolute_error(test.y, predicted), 6),
    }


def half_widths(rows: Rows, model: LinearModel) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return scores.half_widths(model, rows.write(Path(folder)))


@pytest.mark.parametrize("m", [19, 20, 21, 99, 1000])
def test_half_widths_are_order_statistics_of_the_errors(m: int) -> None:
    rng = np.random.default_rng(m)
    rows = Rows(rng.normal(size=(m, 2)), rng.normal(size=m))
    model = LinearModel(np.array([0.5, -1.0]), 0.25)
    errors = sorted(np.abs(model.predict(rows.X) - rows.y).tolist())
    ranks = {"0.5": -(-(m + 1) // 2), "0.8": -(-4 * (m + 1) // 5), "0.9": -(-9 * (m + 1) // 10)}
    ranks["0.95"] = -(-19 * (m + 1) // 20)
    expected = {share: scores.round_up(errors[rank - 1]) for share, rank in ranks.items() if m > 19}
    assert half_widths(rows, model) == expected


@pytest.mark.slow
def test_so_many_fresh_rows_lie_within_the_interval() -> None:
    # whatever the model, and however errors are distributed
    rng = np.random.default_rng(0)
    model, within = LinearModel(np.array([2.0]), 1.0), defaultdict(list)
    for _ in range(40):
        X = rng.normal(size=(1100, 1))
        rows = Rows(X, np.exp(X[:, 0]) + rng.standard_cauchy(1100))
        found = half_widths(Rows(rows.X[:99], rows.y[:99]), model)
        errors = np.abs(model.predict(rows.X) - rows.y)[99:]
        for share, half in found.items():
            within[share].append((errors <= half).mean())
    for share, shares in within.items():
        # the share of one draw is of a beta distribution with this mean and standard deviation
        rank = math.ceil(100 * Fraction(share))
        deviation = math.sqrt(rank * (100 - rank) / 100**2 / 101) + 0.02
        assert np.mean(shares) == pytest.approx(rank / 100, abs=4 * deviation / math.sqrt(40))


def test_the_largest_errors_fit() -> None:
    rows = Rows(np.full((1000, 1), 1.0), np.full(1000, -1.0))
    rows.X[0], rows.y[0] = -1.0, 1.0
    model = LinearModel(np.array([math.nextafter(1.0, 0)]), 0.0)
    assert rows.tally(model, model)[0]["mae"] == 2 - 2**-53


def test_a_bound_is_round_up() -> None:
    assert scores.round_up(0.1) == 0.100001  # the double is above the tenth
    assert scores.round_up(0.25) == 0.25
    assert scores.round_up(math.nextafter(0.25, 1)) == 0.250001


def test_errors_whose_squares_are_no_numbers_are_refused() -> None:
    model = LinearModel(np.array([1e80]), 0.0)
    with pytest.raises(InputError, match="a row lies so far outside"):
        Rows(np.array([[0.0], [1e80]]), np.array([0.0, 1.0])).tally(model, model)


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


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["nearest", "optimal"])
@pytest.mark.parametrize("bits", range(1, 17))
def test_the_bound_holds_wherever_the_features_have_been(
    trained: Trained, bits: int, rounding: str
) -> None:
    quantized = quantize(trained.model.coef, trained.sums, bits, rounding).model
    low, high = trained.sums.low[:-1], trained.sums.high[:-1]
    # corners, among them the worst by the signs of the weights' errors, and places between
    places = np.random.default_rng(bits).random((1000, len(low))).clip(0.25, 0.75) * 2 - 0.5
    places[0] = quantized.coef > trained.model.coef
    places[1] = 1 - places[0]
    X = low + places * (high - low)
    difference = np.abs(quantized.predict(X) - trained.model.predict(X)).max()
    assert difference <= largest_difference(trained.model, quantized, low, high)


@pytest.mark.slow
def test_both_models_are_compared_on_both_tables() -> None:
    rng = np.random.default_rng(7)
    train, test = (Rows(rng.normal(size=(n, 2)), rng.normal(size=n)) for n in (30, 10))
    models = LinearModel(np.array([0.5, -3.0]), 3.0), LinearModel(np.array([0.5, -4.0]), 3.25)
    learned, tested = ((rows.sums, rows.tally(*models)) for rows in (train, test))
    found = scores.compare(models, learned, tested)
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


@pytest.mark.parametrize(
    ("r2", "drop", "missed"),
    [
        (0.5, 0.001, []),
        (0.499999, 0.001, ["gate.min_r2"]),
        (0.5, 0.001001, ["gate.max_r2_drop"]),
        (-1.0, 1.5, ["gate.min_r2", "gate.max_r2_drop"]),
        (0.6, -0.2, []),
    ],
)
def test_the_gate_names_the_limits_that_are_missed(
    r2: float, drop: float, missed: list[str]
) -> None:
    metrics = {"test_r2": r2, "float_r2": round(r2 + drop, 6)}
    for least in (0.5, None):
        lines = shortfalls(metrics, Gate(least, None, 0.001))
        wanted = [name for name in missed if least or name != "gate.min_r2"]
        assert [re.findall(r"gate\.\w+", line) for line in lines] == [[name] for name in wanted]
