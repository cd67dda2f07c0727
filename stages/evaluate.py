"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import artifact, cli, metrics, params, predictor, table
from stages.affine import float32
from stages.artifact import (
    METRICS,
    MODEL,
    PLOTS,
    PREDICTIONS,
    PREDICTOR,
    QUANT_PARAMS,
    TEST,
    TRAIN,
    UNQUANT_PARAMS,
)
from stages.linear import LinearModel
from stages.metrics import DECIMALS
from stages.moments import Moments
from stages.quantize import dequantize, quantize
from stages.table import Table

PLOT_ROWS = 1000  # enough for a picture; the split has shuffled the rows

SAMPLE_COLUMNS = ("actual", "float", "quantized", "error")
SWEEP_COLUMNS = (
    "rounding",
    "bits",
    "payload_bits",
    "mse_growth_percent",
    "train_r2",
    "test_r2",
    "largest_difference",
)


def judge(test: Table, model: LinearModel, quantized: LinearModel, n_rows: int) -> NDArray[Any]:
    """Predict the first test rows: actual value, float and quantized prediction, and its error.

    Returns
    -------
    ndarray of shape (at most n_rows, 4)
        In the unit of the target, to 6 decimals.
    """
    y, X = test.y[:n_rows], test.X[:n_rows]
    codes = quantized.predict(X)
    return np.column_stack([y, model.predict(X), codes, codes - y]).round(DECIMALS)


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
            yield rounding, weights.bits, weights.payload_bits, dequantize(weights, moments)
    n = len(model.coef)
    intercept = float32(model.intercept)
    rounded = np.array([float32(weight) for weight in model.coef])
    yield "float32", 32, 32 * (n + 1), LinearModel(rounded, intercept)
    scales = np.array([float32(abs(weight) / 127) or 1.0 for weight in model.coef])
    rounded = np.rint(model.coef / scales) * scales
    yield "a scale each", 8, (8 + 32) * n + 32, LinearModel(rounded, intercept)


def losses(
    model: LinearModel, quantized: LinearModel, train: Table, test: Table
) -> tuple[float, float, float, float]:
    """Return the last four of `SWEEP_COLUMNS`."""
    scores = metrics.compare(model, quantized, train, test)
    return (
        scores["quantization"]["mse_growth_percent"],
        scores["quantized"]["train"]["r2"],
        scores["quantized"]["test"]["r2"],
        scores["quantization"]["prediction_difference"]["max"],
    )


def main() -> None:
    samples = params.read().evaluate.samples
    train, test = table.read(TRAIN), table.read(TEST)
    model = LinearModel(**artifact.load_joblib(UNQUANT_PARAMS))
    shipped = predictor.load(PREDICTOR)
    quantized = LinearModel(np.array(shipped.coef), shipped.intercept.value)
    moments = Moments.of(train.X, train.y)

    scores = metrics.compare(model, quantized, train, test)
    for name in ("optimal", "nodes", "payload_bits"):
        scores["quantization"][name] = shipped.metrics[name]
    scores["bytes"] = {
        path.name.replace(".", "_"): path.stat().st_size
        for path in (MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR)
    }
    artifact.save_json(scores, METRICS)

    rows = judge(test, model, quantized, samples)
    artifact.save_csv(
        test.features + SAMPLE_COLUMNS,
        np.column_stack([test.X[:samples], rows]).tolist(),
        PREDICTIONS,
    )
    artifact.save_csv(
        SAMPLE_COLUMNS, judge(test, model, quantized, PLOT_ROWS).tolist(), PLOTS / "predictions.csv"
    )
    # per standard deviation of the feature: raw weights differ by a factor of 100,000
    effects = [
        (feature, name, effect)
        for name, scored in (("float", model), ("quantized", quantized))
        for feature, effect in zip(
            test.features, (scored.coef * moments.x_std).round(DECIMALS).tolist(), strict=True
        )
    ]
    artifact.save_csv(("feature", "model", "effect"), effects, PLOTS / "weights.csv")
    compared = [
        (rounding, bits, payload_bits, *losses(model, one, train, test))
        for rounding, bits, payload_bits, one in sweep(model, moments)
    ]
    artifact.save_csv(SWEEP_COLUMNS, compared, PLOTS / "sweep.csv")


if __name__ == "__main__":
    cli.run(main, __doc__)
