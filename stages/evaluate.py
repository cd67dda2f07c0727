"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
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
    TEST,
    TRAIN,
    UNQUANT_PARAMS,
)
from stages.quantizer.affine import MAX_BITS, QuantizedWeights, float32
from stages.quantizer.rounding import dequantize, quantize
from stages.regression import scores
from stages.regression.linear import Floats, LinearModel
from stages.regression.moments import Moments
from stages.tables import table
from stages.tables.table import Table

SWEPT = 2 * MAX_BITS + 2  # models in the sweep
PLOT_ROWS = 1000  # enough for a picture; the split has shuffled the rows

SWEEP_COLUMNS = (
    "rounding",
    "bits",
    "payload_bits",
    "mse_growth_percent",
    "train_r2",
    "test_r2",
    "largest_difference",
)


def judge(test: Table, model: LinearModel, quantized: LinearModel) -> Floats:
    """Predict the test rows: actual value, float and quantized prediction, and its error.

    Returns
    -------
    ndarray of shape (n_rows, 4)
        In the unit of the target, what is calculated to 6 decimals; the error is
        predicted - actual.
    """
    predicted = quantized.predict(test.X)
    calculated = np.column_stack([model.predict(test.X), predicted, predicted - test.y])
    return np.column_stack([test.y, calculated.round(DECIMALS)])


def sweep(model: LinearModel, moments: Moments) -> Iterator[tuple[str, int, int, LinearModel]]:
    """Quantize the weights in every way that `reports/plots/sweep.csv` compares.

    Besides 1 to 16 bits with either rounding: plain float32, and what is often done, 8 bits with
    a float32 scale for each weight.

    Yields
    ------
    rounding, bits, payload_bits, quantized model
    """
    for rounding in ("optimal", "nearest"):
        for weights in quantize(model.coef, moments, rounding):
            yield rounding, weights.bits, weights.payload_bits, dequantize(weights, model, moments)
    n = len(model.coef)
    with np.errstate(over="ignore", invalid="ignore"):  # not all weights are in float32's range
        intercept = float32(model.intercept)
        rounded = np.array([float32(weight) for weight in model.coef])
        scales = np.array([float32(abs(weight) / 127) or 1.0 for weight in model.coef])
        scaled = np.rint(model.coef / scales) * scales
    if np.isfinite([*rounded, *scaled, intercept]).all():
        yield "float32", 32, 32 * (n + 1), LinearModel(rounded, intercept)
        yield "a scale each", 8, (8 + 32) * n + 32, LinearModel(scaled, intercept)


def sweep_rows(
    model: LinearModel, moments: Moments, train: Table, test: Table
) -> Iterator[tuple[str | int | float, ...]]:
    """Score what `sweep` yields; rows of `SWEEP_COLUMNS`."""
    began = time.monotonic()
    for done, (rounding, bits, payload_bits, quantized) in enumerate(sweep(model, moments), 1):
        compared = scores.compare(model, quantized, train, test)
        cli.progress(done / SWEPT, began)
        yield (
            rounding,
            bits,
            payload_bits,
            compared["quantization"]["mse_growth_percent"],
            compared["quantized"]["train"]["r2"],
            compared["quantized"]["test"]["r2"],
            compared["quantization"]["prediction_difference"]["max"],
        )


def effects(
    model: LinearModel, quantized: LinearModel, features: Iterable[str], moments: Moments
) -> Iterator[tuple[str, str, float]]:
    """Yield what one standard deviation of each feature adds to the prediction of either model.

    Weights themselves have the units of their features, so one picture cannot show them all.
    """
    for name, shown in (("float", model), ("quantized", quantized)):
        per_deviation = (shown.coef * moments.x_std).round(DECIMALS).tolist()
        for feature, effect in zip(features, per_deviation, strict=True):
            yield feature, name, effect


def details(
    model: LinearModel,
    quantized: LinearModel,
    weights: QuantizedWeights,
    train: Table,
    test: Table,
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """Lay out `reports/scores.json`."""
    compared = scores.compare(model, quantized, train, test)
    compared["quantization"] |= {
        "optimal": weights.optimal,
        "nodes": weights.nodes,
        "payload_bits": weights.payload_bits,
    }
    return compared | {"bytes": dict(sizes)}


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


def load_predictor(test: Table) -> Predictor:
    """Load the predictor, which must have been made for the table `test`."""
    shipped = document.load(PREDICTOR)
    names = tuple(feature.name for feature in shipped.features)
    if (shipped.dataset, names) != (test.dataset, test.features):
        raise InputError(f"{PREDICTOR} is for another table than {TEST}; `dvc repro` makes both")
    return shipped


def load_weights() -> QuantizedWeights:
    """Load the codes, and how far they are proven."""
    stored = files.load_joblib(QUANT_PARAMS)
    with files.reading(QUANT_PARAMS):
        del stored["intercept"]
        return QuantizedWeights(**stored)


def main() -> str:
    samples = params.read().evaluate.samples
    train, test = table.read(TRAIN), table.read(TEST)
    unquantized = files.load_joblib(UNQUANT_PARAMS)
    with files.reading(UNQUANT_PARAMS):
        model = LinearModel(**unquantized)
    shipped = load_predictor(test)
    quantized = dequantized(shipped)
    moments = Moments.of(train.X)
    sizes = {
        path.name.replace(".", "_"): path.stat().st_size
        for path in (MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR)
    }
    with np.errstate(over="ignore", invalid="ignore"):
        scored = details(model, quantized, load_weights(), train, test, sizes)
        rows = judge(test, model, quantized)
        swept = list(sweep_rows(model, moments, train, test))
    if not math.isfinite(scored["float"]["test"]["mse"] + scored["quantized"]["test"]["mse"]):
        raise InputError(
            f"{TEST}: a row lies so far outside the training range that its error is too large for"
            " a number: leave the row or the feature out"
        )
    sample_rows = np.column_stack([test.X, rows])[:samples]

    told = headline(scored)
    files.save_json(told, METRICS)
    files.save_json(scored, SCORES)
    files.save_csv(test.features + SAMPLE_COLUMNS, sample_rows.tolist(), PREDICTIONS)
    files.save_csv(SAMPLE_COLUMNS, rows[:PLOT_ROWS].tolist(), PLOTS / "predictions.csv")
    files.save_csv(
        ("feature", "model", "effect"),
        effects(model, quantized, test.features, moments),
        PLOTS / "weights.csv",
    )
    files.save_csv(SWEEP_COLUMNS, swept, PLOTS / "sweep.csv")
    float_r2, quantized_r2 = told["test_r2"].values()
    growth = scored["quantization"]["mse_growth_percent"]
    return f"test R² {float_r2} float, {quantized_r2} quantized; training MSE grows by {growth} %"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Evaluate)
