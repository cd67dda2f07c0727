"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import artifact, cli, metrics, params, predictor, table
from stages.affine import float32
from stages.artifact import (
    DECIMALS,
    METRICS,
    MODEL,
    PLOTS,
    PREDICTIONS,
    PREDICTOR,
    QUANT_PARAMS,
    SAMPLE_COLUMNS,
    TEST,
    TRAIN,
    UNQUANT_PARAMS,
)
from stages.cli import InputError
from stages.linear import LinearModel
from stages.moments import Moments
from stages.predictor import Predictor
from stages.quantize import dequantize, quantize
from stages.table import Table

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


def judge(test: Table, model: LinearModel, quantized: LinearModel) -> NDArray[np.float64]:
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
    for rounding, bits, payload_bits, quantized in sweep(model, moments):
        scores = metrics.compare(model, quantized, train, test)
        yield (
            rounding,
            bits,
            payload_bits,
            scores["quantization"]["mse_growth_percent"],
            scores["quantized"]["train"]["r2"],
            scores["quantized"]["test"]["r2"],
            scores["quantization"]["prediction_difference"]["max"],
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


def report(
    model: LinearModel, shipped: Predictor, train: Table, test: Table, sizes: Mapping[str, int]
) -> dict[str, Any]:
    """Lay out `reports/metrics.json`."""
    scores = metrics.compare(model, dequantized(shipped), train, test)
    for name in ("optimal", "nodes", "payload_bits"):
        scores["quantization"][name] = shipped.metrics[name]
    return scores | {"bytes": dict(sizes)}


def dequantized(shipped: Predictor) -> LinearModel:
    """Return the model that a predictor holds."""
    return LinearModel(np.array(shipped.coef), shipped.intercept.value)


def load_predictor(test: Table) -> Predictor:
    """Load the predictor, which must have been made for the table `test`."""
    shipped = predictor.load(PREDICTOR)
    names = tuple(feature.name for feature in shipped.features)
    if (shipped.dataset, names) != (test.dataset, test.features):
        raise InputError(f"{PREDICTOR} is for another table than {TEST}; `dvc repro` makes both")
    return shipped


def main() -> None:
    samples = params.read().evaluate.samples
    train, test = table.read(TRAIN), table.read(TEST)
    model = LinearModel(**artifact.load_joblib(UNQUANT_PARAMS))
    shipped = load_predictor(test)
    quantized = dequantized(shipped)
    moments = Moments.of(train.X)
    sizes = {
        path.name.replace(".", "_"): path.stat().st_size
        for path in (MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR)
    }
    rows = judge(test, model, quantized)
    sample_rows = np.column_stack([test.X, rows])[:samples]

    artifact.save_json(report(model, shipped, train, test, sizes), METRICS)
    artifact.save_csv(test.features + SAMPLE_COLUMNS, sample_rows.tolist(), PREDICTIONS)
    artifact.save_csv(SAMPLE_COLUMNS, rows[:PLOT_ROWS].tolist(), PLOTS / "predictions.csv")
    artifact.save_csv(
        ("feature", "model", "effect"),
        effects(model, quantized, test.features, moments),
        PLOTS / "weights.csv",
    )
    artifact.save_csv(SWEEP_COLUMNS, sweep_rows(model, moments, train, test), PLOTS / "sweep.csv")


if __name__ == "__main__":
    cli.run(main, __doc__)
