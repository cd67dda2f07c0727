"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stages.predictor import document
from stages.predictor.document import Predictor
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import (
    DECIMALS,
    METRICS,
    MODEL,
    PLOTS,
    PREDICTIONS,
    PREDICTOR,
    QUANT_PARAMS,
    SAMPLE_COLUMNS,
    SCORES,
    SUMS,
    TEST,
    TRAIN,
    UNQUANT_PARAMS,
)
from stages.quantizer.affine import QuantizedWeights, float32
from stages.quantizer.rounding import dequantize, quantize
from stages.regression import scores, sums
from stages.regression.linear import Floats, LinearModel
from stages.regression.scores import Tally
from stages.regression.sums import Sums
from stages.tables import table
from stages.tables.table import Schema

Way = tuple[str, int, int, LinearModel]  # rounding, bits, payload_bits, quantized model
SWEEP_COLUMNS = (
    "rounding",
    "bits",
    "payload_bits",
    "mse_growth_percent",
    "train_r2",
    "test_r2",
    "largest_difference",
)


def judge(rows: Floats, model: LinearModel, quantized: LinearModel) -> Floats:
    """Predict rows of a table, of shape (n_rows, n_features + 1), and compare.

    Returns
    -------
    ndarray of shape (n_rows, 4)
        Actual value, float and quantized prediction, and its error, which is predicted - actual.
        In the unit of the target, what is calculated to 6 decimals.
    """
    X, y = rows[:, :-1], rows[:, -1]
    predicted = quantized.predict(X)
    calculated = np.column_stack([model.predict(X), predicted, predicted - y])
    return np.column_stack([y, calculated.round(DECIMALS)])


def sweep(model: LinearModel, train: Sums) -> Iterator[Way]:
    """Quantize the weights in every way that `reports/plots/sweep.csv` compares.

    Besides 1 to 16 bits with either rounding: plain float32, and what is often done, 8 bits with
    a float32 scale for each weight.

    Yields
    ------
    rounding, bits, payload_bits, quantized model
    """
    for rounding in ("optimal", "nearest"):
        for weights in quantize(model.coef, train, rounding):
            yield rounding, weights.bits, weights.payload_bits, dequantize(weights, train)
    n = len(model.coef)
    with np.errstate(over="ignore", invalid="ignore"):  # not all weights are in float32's range
        intercept = float32(model.intercept)
        rounded = np.array([float32(weight) for weight in model.coef])
        scales = np.array([float32(abs(weight) / 127) or 1.0 for weight in model.coef])
        scaled = np.rint(model.coef / scales) * scales
    if np.isfinite([*rounded, *scaled, intercept]).all():
        yield "float32", 32, 32 * (n + 1), LinearModel(rounded, intercept)
        yield "a scale each", 8, (8 + 32) * n + 32, LinearModel(scaled, intercept)


def scored_sweep(
    model: LinearModel, swept: Sequence[Way], train: Sums, test: Sums, on_test: Tally
) -> Iterator[tuple[str | int | float, ...]]:
    """Score what `sweep` yields, which the tally has behind two other models."""
    for (rounding, bits, payload_bits, quantized), (_, seen) in zip(
        swept, on_test.models[2:], strict=True
    ):
        growth = scores.mse_growth_percent(train, model, quantized)
        r2 = (round(scores.r2(rows, quantized), DECIMALS) for rows in (train, test))
        largest = round(seen.largest_difference, DECIMALS)
        yield rounding, bits, payload_bits, growth, *r2, largest


def effects(
    model: LinearModel, quantized: LinearModel, features: Iterable[str], std: Floats
) -> Iterator[tuple[str, str, float]]:
    """Yield what one standard deviation of each feature adds to the prediction of either model.

    Weights themselves have the units of their features, so one picture cannot show them all.
    """
    for name, shown in (("float", model), ("quantized", quantized)):
        per_deviation = (shown.coef * std).round(DECIMALS).tolist()
        for feature, effect in zip(features, per_deviation, strict=True):
            yield feature, name, effect


def headline(scored: Mapping[str, Any]) -> dict[str, Any]:
    """Take out of the scores what `dvc metrics show` tells in one line."""
    quantization = scored["quantization"]
    return {
        "test_r2": {name: scored[name]["test"]["r2"] for name in ("float", "quantized")},
        # at 8 bits a percentage would have nothing but zeros in the columns of DVC
        "growth_ppm": float(f"{1e4 * quantization['mse_growth_percent']:.4g}"),
        "payload_bits": quantization["payload_bits"],
        "optimal": quantization["optimal"],
    }


def dequantized(shipped: Predictor) -> LinearModel:
    """Return the model that a predictor holds."""
    return LinearModel(np.array(shipped.coef), shipped.intercept.value)


def load_predictor(schema: Schema) -> Predictor:
    """Load the predictor, which must have been made for a table like this."""
    shipped = document.load(PREDICTOR)
    names = tuple(feature.name for feature in shipped.features)
    if (shipped.dataset, names) != (schema.dataset, schema.features):
        raise InputError(f"{PREDICTOR} is for another table than {SUMS}; `dvc repro` makes both")
    return shipped


def load_weights() -> QuantizedWeights:
    """Load the codes, and how far they are proven."""
    stored = files.load_joblib(QUANT_PARAMS)
    with files.reading(QUANT_PARAMS):
        del stored["intercept"]
        return QuantizedWeights(**stored)


def main() -> str:
    samples = params.read().evaluate.samples
    schema, learned = sums.load(SUMS)
    train, test = table.read(TRAIN, schema), table.read(TEST, schema)
    ranges = [train.low, train.high], [learned.low, learned.high]
    if train.n_rows != learned.n_rows or not np.array_equal(*ranges):
        raise InputError(f"{SUMS} is for other rows than {TRAIN}; `dvc repro` makes both")
    unquantized = files.load_joblib(UNQUANT_PARAMS)
    with files.reading(UNQUANT_PARAMS):
        model = LinearModel(**unquantized)
    weights = load_weights()
    quantized = dequantized(load_predictor(schema))
    swept = list(sweep(model, learned))
    on_train = Tally([model, quantized], train.low, train.high)
    for block in train.blocks():
        on_train.add(block)
    try:
        every = [model, quantized, *(way[-1] for way in swept)]
        on_test = Tally(every, test.low, test.high)
        with files.reading(TEST):
            tested = Sums.of(on_test.watching(test.blocks()), test.low, test.high)
        scored = scores.compare(
            [model, quantized], {"train": (learned, on_train), "test": (tested, on_test)}
        )
        sweep_rows = list(scored_sweep(model, swept, learned, tested, on_test))
    except OverflowError as error:
        raise InputError(
            f"{TEST}: a row lies so far outside the training range that its error is too large for"
            " a number: leave the row or the feature out"
        ) from error
    scored["quantization"] |= {
        "optimal": weights.optimal,
        "nodes": weights.nodes,
        "payload_bits": weights.payload_bits,
    }
    scored["bytes"] = {
        path.name.replace(".", "_"): path.stat().st_size
        for path in (MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR)
    }
    shown = test.sample()
    rows = judge(shown, model, quantized)
    sample_rows = np.column_stack([shown[:, :-1], rows])[:samples]

    told = headline(scored)
    files.save_json(told, METRICS)
    files.save_json(scored, SCORES)
    files.save_csv(schema.features + SAMPLE_COLUMNS, sample_rows.tolist(), PREDICTIONS)
    files.save_csv(SAMPLE_COLUMNS, rows.tolist(), PLOTS / "predictions.csv")
    files.save_csv(
        ("feature", "model", "effect"),
        effects(model, quantized, schema.features, learned.std[:-1]),
        PLOTS / "weights.csv",
    )
    files.save_csv(SWEEP_COLUMNS, sweep_rows, PLOTS / "sweep.csv")
    float_r2, quantized_r2 = told["test_r2"].values()
    growth = scored["quantization"]["mse_growth_percent"]
    return f"test R² {float_r2} float, {quantized_r2} quantized; training MSE grows by {growth} %"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Evaluate)
