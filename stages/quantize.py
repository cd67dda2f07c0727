"""Quantize the trained model to `quantize.bits` bits and write the predictor."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages import artifact, cli, metrics, params, predictor, table
from stages.affine import MAX_BITS, QuantizedWeights, quantize_nearest
from stages.artifact import MODEL, PREDICTOR, QUANT_PARAMS, TEST, TRAIN, UNQUANT_PARAMS
from stages.cli import InputError
from stages.linear import LinearModel, significant
from stages.moments import Moments
from stages.predictor import Feature, Intercept, Predictor
from stages.search import quantize_optimal
from stages.table import Table

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def fold(pipeline: "Pipeline") -> LinearModel:
    """Fold the scaler into the regression: (x - μ) / σ · w + b = x · w/σ + (b - Σ μ · w/σ).

    The intercept is not rounded again, for with a feature that is far from 0 but varies little it
    is far larger than what it predicts.
    """
    scaler, regression = pipeline["scaler"], pipeline["regression"]
    coef = significant(regression.coef_ / scaler.scale_)
    intercept = math.fsum([regression.intercept_, *(-coef * scaler.mean_).tolist()])
    return LinearModel(coef, intercept)


def quantize(
    coef: NDArray[np.float64], moments: Moments, rounding: str
) -> Iterator[QuantizedWeights]:
    """Quantize the weights `coef`, of shape (n_features,), to 1, 2, … 16 bits, each when asked."""
    if rounding == "nearest":
        return (quantize_nearest(coef, moments.x_std, bits) for bits in range(1, MAX_BITS + 1))
    return quantize_optimal(coef, moments.x_std, moments.correlation)


def dequantize(weights: QuantizedWeights, model: LinearModel, moments: Moments) -> LinearModel:
    """Return the model that the codes for the weights of `model` stand for.

    Its intercept is refitted: argmin_b Σ (b + x · v̂ - y)² = mean(y) - Σ v̂_j · mean(x_j), which
    is that of `model` + Σ (v_j - v̂_j) · mean(x_j). So taken, it loses nothing to large means.
    """
    coef = weights.coef
    shift = (model.coef - coef) * moments.x_mean
    return LinearModel(coef, math.fsum([model.intercept, *shift.tolist()]))


def to_predictor(
    weights: QuantizedWeights, intercept: float, train: Table, rounding: str, scores: dict[str, Any]
) -> Predictor:
    """Put together all that is needed to predict, and what a model card says of it."""
    columns = zip(
        train.features,
        train.X.min(axis=0).tolist(),
        train.X.max(axis=0).tolist(),
        weights.exponents.tolist(),
        weights.codes.tolist(),
        strict=True,
    )
    return Predictor(
        dataset=train.dataset,
        target=train.target,
        unit=train.unit,
        bits=weights.bits,
        rounding=rounding,
        scale=weights.scale,
        offset=weights.offset,
        zero_point=weights.zero_point,
        # one value is a grid of zero range: code 0, and the offset holds it exactly
        intercept=Intercept(code=0, scale=1.0, offset=intercept),
        features=tuple(Feature(*column) for column in columns),
        metrics=scores["quantized"]
        | scores["quantization"]
        | {
            "payload_bits": weights.payload_bits,
            "optimal": weights.optimal,
            "nodes": weights.nodes,
        },
    )


def main() -> None:
    config = params.read().quantize
    train, test = table.read(TRAIN), table.read(TEST)
    pipeline = artifact.load_joblib(MODEL)
    if pipeline.n_features_in_ != len(train.features):
        raise InputError(f"{MODEL} is for another table than {TRAIN}; `dvc repro` makes both")
    model = fold(pipeline)
    moments = Moments.of(train.X)
    widths = quantize(model.coef, moments, config.rounding)
    weights = next(islice(widths, config.bits - 1, None))
    quantized = dequantize(weights, model, moments)
    scores = metrics.compare(model, quantized, train, test)
    artifact.save_joblib(vars(model), UNQUANT_PARAMS)
    artifact.save_joblib(vars(weights) | {"intercept": quantized.intercept}, QUANT_PARAMS)
    predictor.save(
        to_predictor(weights, quantized.intercept, train, config.rounding, scores), PREDICTOR
    )


if __name__ == "__main__":
    cli.run(main, __doc__)
