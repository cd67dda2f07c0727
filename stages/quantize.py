"""Quantize the trained model to `quantize.bits` bits and write the predictor."""

from array import array

import numpy as np

from stages.columns.inputs import Schema
from stages.predictor import document
from stages.predictor.document import Feature, Intercept, Predictor
from stages.project import cli, files, params
from stages.project.cli import InputError, plural
from stages.project.files import MODEL, PREDICTOR, QUANT_PARAMS, SUMS, UNQUANT_PARAMS
from stages.quantizer.codes import Codes, pack
from stages.quantizer.solve import Quantized, quantize
from stages.regression import sums
from stages.regression.fit import fold
from stages.regression.sums import Sums


def to_predictor(codes: Codes, schema: Schema, train: Sums) -> Predictor:
    """Put together all that is needed to predict."""
    columns = train.low[:-1], train.high[:-1], codes.codes, codes.exponents
    features = tuple(map(Feature, schema.inputs, *(column.tolist() for column in columns)))
    intercept = Intercept(codes.intercept, codes.intercept_exponent)
    head = schema.dataset, schema.target, schema.unit, schema.missing, schema.levels
    return Predictor(*head, codes.bits, intercept, features)


def to_params(quantized: Quantized) -> dict[str, object]:
    """Lay out `quant_params.joblib`: in the words of the field, and as the payload.

    A weight is scale · (code - zero_point), with the scale 2^(1 - exponent). The arrays are not
    numpy's, which would take more bytes than the model.
    """
    codes = quantized.codes
    return {
        "codes": array("B" if codes.bits <= 8 else "H", codes.codes.tolist()),
        "scale": array("d", np.ldexp(1.0, 1 - codes.exponents).tolist()),
        "zero_point": codes.zero_point,
        "intercept": codes.model.intercept,
        "payload": pack(codes),
        "optimal": quantized.optimal,
        "nodes": quantized.nodes,
    }


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
    quantized = quantize(model.coef, train, config.bits, config.rounding)
    files.save_joblib(vars(model), UNQUANT_PARAMS)
    files.save_joblib(to_params(quantized), QUANT_PARAMS)
    document.save(to_predictor(quantized.codes, schema, train), PREDICTOR)
    how = f"rounded by {config.rounding}"
    if config.rounding == "optimal":
        how = "proven the best of their format" if quantized.optimal else "not proven the best"
    size = plural(len(pack(quantized.codes)), "byte")
    return f"{len(schema.features)} weights of {config.bits} bits, {size} in all, {how}"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Quantize)
