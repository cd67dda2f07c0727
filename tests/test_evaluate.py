from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest

from stages import evaluate
from stages.columns.inputs import Input
from stages.evaluate import effects, headline, judge, load_codes, scored_sweep, sweep
from stages.predictor import document
from stages.predictor.document import Feature
from stages.project.cli import InputError
from stages.quantizer.codes import Codes, pack
from stages.regression import scores
from stages.regression.linear import LinearModel
from stages.regression.scores import Tally
from tests.conftest import EXAMPLE, Rows, schema_of

MODEL = LinearModel(np.array([0.5, -3.0]), 3.0)
ROWS = Rows(np.array([[2.0, 1.0], [0.0, 1.0], [4.0, 0.0]]), np.array([1.5, 0.25, 5.0]))
SCHEMA = schema_of("toy", "y", "apples", ("a", 'b "é"'))


def test_a_prediction_is_judged_by_what_is_known() -> None:
    quantized = LinearModel(np.array([0.5, -4.0]), 3.25)
    assert judge(ROWS.block, MODEL, quantized).tolist() == [
        [1.5, 1.0, 0.25, -1.25],  # 3 + 1 - 3, and 3.25 + 1 - 4
        [0.25, 0.0, -0.75, -1.0],
        [5.0, 5.0, 5.25, 0.25],
    ]


def test_effects_are_weights_times_deviations() -> None:
    quantized = LinearModel(np.array([0.25, -4.0]), 0.0)
    std, mean = np.array([2.0, 10.0]), np.array([7.0, 1 / 3])
    assert list(effects(MODEL, quantized, ("a", "b"), std, mean)) == [
        ("a", "float", 1.0, 0.5, 7.0),
        ("b", "float", -30.0, -3.0, 1 / 3),
        ("a", "quantized", 0.5, 0.25, 7.0),
        ("b", "quantized", -40.0, -4.0, 1 / 3),
    ]


def test_the_headline_is_taken_from_the_scores() -> None:
    r2 = {"float": 0.5, "quantized": 0.25}
    scored = {name: {"train": {"r2": 1.0}, "test": {"r2": value}} for name, value in r2.items()}
    quantization = {"mse_growth_percent": 59.38, "optimal": True, "nodes": 7, "payload_bits": 152}
    assert headline(scored | {"quantization": quantization}) == {
        "test_r2": r2,
        "growth_ppm": 593_800.0,
        "payload_bits": 152,
        "optimal": True,
    }


def test_the_sweep_is_scored_way_by_way() -> None:
    ways = list(sweep(MODEL, ROWS.sums))[14:18]
    models = [MODEL, MODEL, *(way[-1] for way in ways)]
    seen = Tally(models, ROWS.sums.low, ROWS.sums.high)
    seen.add(ROWS.block)
    for way, row in zip(ways, scored_sweep(MODEL, ways, ROWS.sums, ROWS.sums, seen), strict=True):
        quantized = way[-1]
        difference = np.abs(quantized.predict(ROWS.X) - MODEL.predict(ROWS.X)).max()
        growth = scores.mse_growth_percent(ROWS.sums, MODEL, quantized)
        r2 = round(scores.r2(ROWS.sums, quantized), 6)
        assert row == (*way[:3], growth, r2, r2, round(difference, 6))


def test_the_sweep_counts_what_each_way_needs() -> None:
    ones = Rows(np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]), np.arange(4.0))
    rows = {row[:2]: row for row in sweep(MODEL, ones.sums)}
    assert len(rows) == 3 * 16 + 4
    assert rows["float32", 32][2] == 3 * 4
    assert rows["bfloat16", 16][2] == 2 * 2 + 4
    assert rows["a scale each", 8][2] == 2 * (1 + 4) + 4
    assert rows["min-max", 8][2] == 2 * (1 + 4) + 4 + 8
    # 4 + 4, 6 for the least exponent, 6 or 12 for the intercept's; 2 codes; the intercept, the rest
    for bits in (1, 8, 16):
        payload = 8 * rows["nearest", bits][2]
        assert 20 + 2 * bits + 2 <= payload <= 26 + 2 * (bits + 4) + 16 + 8
    scales = np.array([0.5, 3.0]) / 127
    each = rows["a scale each", 8][3]
    assert (each.coef == scales.astype(np.float32).astype(np.float64) * [127, -127]).all()
    plain = rows["float32", 32][3]
    assert (plain.coef.tolist(), plain.intercept) == ([0.5, -3.0], 3.0)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "other"},
        {"features": (replace(EXAMPLE.features[0], max=1.5), EXAMPLE.features[1])},
        {"features": (replace(EXAMPLE.features[0], code=0), EXAMPLE.features[1])},
        {"features": EXAMPLE.features[::-1]},
        {"features": (*EXAMPLE.features, Feature(Input("c"), 0.0, 1.0, 0, 0))},
    ],
)
def test_a_predictor_of_another_table_is_refused(
    change: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictor.json"
    monkeypatch.setattr(evaluate, "PREDICTOR", path)
    monkeypatch.setattr(evaluate, "QUANT_PARAMS", tmp_path / "quant_params.joblib")
    code, exponent = ([getattr(f, key) for f in EXAMPLE.features] for key in ("code", "exponent"))
    payload = pack(Codes(EXAMPLE.bits, np.array(code), np.array(exponent), 13, 2))
    joblib.dump({"payload": payload, "optimal": True, "nodes": 7}, tmp_path / "quant_params.joblib")
    ranges = [[feature.min, feature.max] for feature in EXAMPLE.features]
    train = Rows(np.array(ranges).T, np.array([0.0, 1.0])).sums
    document.save(EXAMPLE, path)
    codes, proof = load_codes(SCHEMA, train)
    assert proof == {"optimal": True, "nodes": 7}
    assert codes.bits == EXAMPLE.bits
    assert codes.multipliers.tolist() == [1, -1]
    assert (codes.model.coef.tolist(), codes.model.intercept) == ([0.5, -4.0], 3.25)
    assert len(pack(codes)) == 5  # 4 + 4 + 6 + 6 bits, twice 2 + 2, and 13 in 5 with its sign
    document.save(replace(EXAMPLE, **change), path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"is for another table|has another model"):
        load_codes(SCHEMA, train)
