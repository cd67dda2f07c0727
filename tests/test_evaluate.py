import numpy as np

from stages.evaluate import effects, headline, judge
from stages.regression.linear import LinearModel
from tests.conftest import Rows

MODEL = LinearModel(np.array([0.5, -3.0]), 3.0)
ROWS = Rows(np.array([[2.0, 1.0], [0.0, 1.0], [4.0, 0.0]]), np.array([1.5, 0.25, 5.0]))


def test_a_prediction_is_judged_by_what_is_known() -> None:
    quantized = LinearModel(np.array([0.5, -4.0]), 3.25)
    assert judge(ROWS.block, MODEL, quantized).tolist() == [
        [1.5, 1.0, 0.25, -1.25],  # 3 + 1 - 3, and 3.25 + 1 - 4
        [0.25, 0.0, -0.75, -1.0],
        [5.0, 5.0, 5.25, 0.25],
    ]


def test_effects_are_weights_times_deviations() -> None:
    quantized = LinearModel(np.array([0.25, -4.0]), 0.0)
    learned = Rows(np.array([[5.0, -9.5], [9.0, 10.5]]), np.zeros(2)).sums
    X = np.column_stack([np.arange(101.0), np.arange(101.0)[::-1] ** 2])
    assert list(effects((MODEL, quantized), ("a", "b"), learned, X)) == [
        ("a", "float", 1.0, 0.5, 7.0, 1.0, 99.0),
        ("b", "float", -30.0, -3.0, 0.5, 1.0, 9801.0),
        ("a", "quantized", 0.5, 0.25, 7.0, 1.0, 99.0),
        ("b", "quantized", -40.0, -4.0, 0.5, 1.0, 9801.0),
    ]


def test_percentiles_of_one_row_are_its_values() -> None:
    found = effects((MODEL, MODEL), ("a", "b"), ROWS.sums, ROWS.X[:1])
    assert [each[-2:] for each in found] == [(2.0, 2.0), (1.0, 1.0)] * 2


def test_the_headline_is_taken_from_the_scores() -> None:
    r2 = {"float": 0.5, "quantized": 0.25}
    scored = {name: {"train": {"r2": 1.0}, "test": {"r2": value}} for name, value in r2.items()}
    quantization = {"mse_growth_percent": 59.38, "optimal": True, "nodes": 7, "payload_bits": 152}
    whole = scored | {"quantization": quantization, "baseline": {"mae": 1.0}}
    folds = {"mean": 0.75, "std": 0.125, "folds": [0.625, 0.875]}
    told = {"growth_ppm": 593_800.0, "payload_bits": 152}
    assert headline(whole | {"cv_r2": folds}) == {
        "test_r2": 0.25,
        "float_r2": 0.5,
        "cv_r2": {"mean": 0.75, "std": 0.125},
        **told,
    }
    assert headline({"quantization": quantization, "cv_r2": {}}) == told
