from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import evaluate
from stages.evaluate import (
    dequantized,
    details,
    effects,
    headline,
    judge,
    load_predictor,
    sweep,
)
from stages.predictor import document
from stages.predictor.document import Feature
from stages.project.cli import InputError
from stages.quantizer.affine import QuantizedWeights
from stages.regression.linear import LinearModel
from stages.regression.moments import Moments
from stages.tables.table import Table
from tests.conftest import EXAMPLE

MODEL = LinearModel(np.array([0.5, -3.0]), 3.0)
TABLE = Table(
    X=np.array([[2.0, 1.0], [0.0, 1.0], [4.0, 0.0]]),
    y=np.array([1.5, 0.25, 5.0]),
    features=("a", 'b "é"'),
    target="y",
    unit="apples",
    dataset="toy",
)


def test_a_prediction_is_judged_by_what_is_known() -> None:
    quantized = LinearModel(np.array([0.5, -4.0]), 3.25)
    assert judge(TABLE, MODEL, quantized).tolist() == [
        [1.5, 1.0, 0.25, -1.25],  # 3 + 1 - 3, and 3.25 + 1 - 4
        [0.25, 0.0, -0.75, -1.0],
        [5.0, 5.0, 5.25, 0.25],
    ]


def test_effects_are_weights_times_deviations() -> None:
    moments = Moments(np.zeros(2), np.array([2.0, 10.0]), np.eye(2))
    quantized = LinearModel(np.array([0.25, -4.0]), 0.0)
    assert list(effects(MODEL, quantized, ("a", "b"), moments)) == [
        ("a", "float", 1.0),
        ("b", "float", -30.0),
        ("a", "quantized", 0.5),
        ("b", "quantized", -40.0),
    ]


def test_the_whole_report() -> None:
    quantized = dequantized(EXAMPLE)
    weights = QuantizedWeights(2, np.array([3, 0]), np.array([0, -2]), 0.5, -1.0, True, 7)
    train = replace(TABLE, y=MODEL.predict(TABLE.X) + np.array([1.0, -1.0, 0.0]))
    scored = details(MODEL, quantized, weights, train, TABLE, {"predictor_json": 12})
    assert {name: list(part) for name, part in scored.items()} == {
        "float": ["train", "test"],
        "quantized": ["train", "test"],
        "quantization": [
            "mse_growth_percent",
            "r2_drop",
            "coef_error",
            "intercept_error",
            "prediction_difference",
            "optimal",
            "nodes",
            "payload_bits",
        ],
        "bytes": ["predictor_json"],
    }
    # the quantized model differs by 1/4 - b, that is by -3/4, -3/4 and 1/4; the bound has room for
    # rounding errors, and is rounded up
    assert scored["quantization"] == {
        # the errors go from -1, 1, 0 to -7/4, 1/4, 1/4: their squares from 2 to 51/16
        "mse_growth_percent": 59.38,
        "r2_drop": round(scored["float"]["test"]["r2"] - scored["quantized"]["test"]["r2"], 6),
        "coef_error": {"mean": 0.5, "max": 1.0},
        "intercept_error": 0.25,
        "prediction_difference": {"mean": 0.583333, "max": 0.75, "bound": 0.750001},
        "optimal": True,
        "nodes": 7,
        # codes of 2 bits, exponents of 2, and 16 bits of base; scale, offset, intercept
        "payload_bits": 2 * (2 + 2) + 16 + 32 + 32 + 64,
    }
    assert headline(scored) == {
        "test_r2": {name: scored[name]["test"]["r2"] for name in ("float", "quantized")},
        "growth_ppm": 593_800.0,
        "payload_bits": 152,
        "optimal": True,
    }


def test_the_sweep_counts_what_each_way_needs() -> None:
    moments = Moments(np.zeros(2), np.ones(2), np.eye(2))
    rows = {row[:2]: row for row in sweep(MODEL, moments)}
    assert len(rows) == 2 * 16 + 2
    assert rows["float32", 32][2] == 3 * 32
    assert rows["a scale each", 8][2] == 2 * (8 + 32) + 32
    # 8-bit codes, no spread of exponents and 16 bits of base; scale, offset, intercept
    assert rows["nearest", 8][2] == 2 * 8 + 16 + 32 + 32 + 64
    scales = np.array([0.5, 3.0]) / 127
    each = rows["a scale each", 8][3]
    assert (each.coef == scales.astype(np.float32).astype(np.float64) * [127, -127]).all()
    plain = rows["float32", 32][3]
    assert (plain.coef.tolist(), plain.intercept) == ([0.5, -3.0], 3.0)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "other"},
        {"features": EXAMPLE.features[::-1]},
        {"features": (*EXAMPLE.features, Feature("c", 0.0, 1.0, 0, 0))},
    ],
)
def test_a_predictor_of_another_table_is_refused(
    change: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictor.json"
    monkeypatch.setattr(evaluate, "PREDICTOR", path)
    document.save(EXAMPLE, path)
    assert load_predictor(TABLE) == EXAMPLE
    document.save(replace(EXAMPLE, **change), path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is for another table"):
        load_predictor(TABLE)
