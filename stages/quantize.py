"""Quantize the trained model to `quantize.bits` bits and write the predictor."""

from itertools import islice

import numpy as np

from stages.predictor import document
from stages.predictor.document import Feature, Intercept, Predictor
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import MODEL, PREDICTOR, QUANT_PARAMS, SUMS, UNQUANT_PARAMS
from stages.quantizer.affine import QuantizedWeights
from stages.quantizer.rounding import dequantize, quantize
from stages.regression import sums
from stages.regression.fit import fold
from stages.regression.sums import Sums
from stages.tables.table import Schema


def to_predictor(
    weights: QuantizedWeights, intercept: float, schema: Schema, train: Sums, rounding: str
) -> Predictor:
    """Put together all that is needed to predict."""
    columns = zip(
        schema.features,
        train.low[:-1].tolist(),
        train.high[:-1].tolist(),
        weights.exponents.tolist(),
        weights.codes.tolist(),
        strict=True,
    )
    return Predictor(
        dataset=schema.dataset,
        target=schema.target,
        unit=schema.unit,
        bits=weights.bits,
        rounding=rounding,
        scale=weights.scale,
        offset=weights.offset,
        zero_point=weights.zero_point,
        # one value is a grid of zero range: code 0, and the offset holds it exactly
        intercept=Intercept(code=0, scale=1.0, offset=intercept),
        features=tuple(Feature(*column) for column in columns),
    )


def main() -> str:
    config = params.read().quantize
    schema, train = sums.load(SUMS)
    pipeline = files.load_joblib(MODEL)
    with files.reading(MODEL):
        if not np.array_equal(pipeline["scaler"].mean_, train.mean[:-1]):
            raise InputError(f"{MODEL} is for other rows than {SUMS}; `dvc repro` makes both")
        model = fold(pipeline, train)
        if not np.isfinite(model.coef).all():
            raise ValueError("its weights are not finite")
    widths = quantize(model.coef, train, config.rounding)
    weights = next(islice(widths, config.bits - 1, None))
    intercept = dequantize(weights, train).intercept
    files.save_joblib(vars(model), UNQUANT_PARAMS)
    files.save_joblib(vars(weights) | {"intercept": intercept}, QUANT_PARAMS)
    document.save(to_predictor(weights, intercept, schema, train, config.rounding), PREDICTOR)
    proof = "proven the best of their grid" if weights.optimal else "not proven the best"
    return f"{len(weights.codes)} weights of {weights.bits} bits, {proof}"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Quantize)
