"""Quantize the trained model to `quantize.bits` bits and write the predictor."""

from itertools import islice

import numpy as np

from stages.predictor import document
from stages.predictor.document import Feature, Intercept, Predictor
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import MODEL, PREDICTOR, QUANT_PARAMS, TRAIN, UNQUANT_PARAMS
from stages.quantizer.affine import QuantizedWeights
from stages.quantizer.rounding import dequantize, quantize
from stages.regression.fit import fold
from stages.regression.moments import Moments
from stages.tables import table
from stages.tables.table import Table


def to_predictor(
    weights: QuantizedWeights, intercept: float, train: Table, rounding: str
) -> Predictor:
    """Put together all that is needed to predict."""
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
    )


def main() -> str:
    config = params.read().quantize
    train = table.read(TRAIN)
    pipeline = files.load_joblib(MODEL)
    with files.reading(MODEL):
        if pipeline.n_features_in_ != len(train.features):
            raise InputError(f"{MODEL} is for another table than {TRAIN}; `dvc repro` makes both")
        model = fold(pipeline)
        if not np.isfinite(model.coef).all():
            raise ValueError("its weights are not finite")
    moments = Moments.of(train.X)
    widths = quantize(model.coef, moments, config.rounding)
    weights = next(islice(widths, config.bits - 1, None))
    intercept = dequantize(weights, model, moments).intercept
    files.save_joblib(vars(model), UNQUANT_PARAMS)
    files.save_joblib(vars(weights) | {"intercept": intercept}, QUANT_PARAMS)
    document.save(to_predictor(weights, intercept, train, config.rounding), PREDICTOR)
    proof = "proven the best of their grid" if weights.optimal else "not proven the best"
    return f"{len(weights.codes)} weights of {weights.bits} bits, {proof}"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Quantize)
