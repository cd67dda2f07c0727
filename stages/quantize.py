"""Quantize the trained model to `quantize.bits` bits and write the predictor."""

from array import array

import numpy as np

from stages.predictor import document
from stages.predictor.document import PROOF, Predictor
from stages.predictor.payload import pack
from stages.project import cli, files, params
from stages.project.cli import plural
from stages.project.files import MODEL, PREDICTOR, QUANT_PARAMS, SUMS, UNQUANT_PARAMS
from stages.quantizer.solve import Quantized, quantize
from stages.regression import sums
from stages.regression.fit import fold


def to_params(predictor: Predictor, quantized: Quantized) -> dict[str, object]:
    """Lay out `quant_params.joblib`: in the words of the field, and as the payload.

    A weight is scale · (code - zero_point), with the scale 2^(1 - exponent). The arrays are not
    numpy's, which would take more bytes than the model.
    """
    bits, features = predictor.bits, predictor.features
    return {
        "codes": array("B" if bits <= 8 else "H", [feature.code for feature in features]),
        "scale": array("d", [2.0 ** (1 - feature.exponent) for feature in features]),
        "zero_point": (2**bits - 1) / 2,
        "intercept": predictor.intercept.value,
        "payload": pack(predictor),
        "optimal": quantized.optimal,
        "nodes": quantized.nodes,
    }


def main() -> str:
    config = params.read().quantize
    schema, train = sums.load(SUMS)
    with files.reading(MODEL):
        model = fold(files.load_joblib(MODEL), train)
        if not np.isfinite(model.coef).all():
            raise ValueError("its weights are not finite")
    quantized = quantize(model.coef, train, config.bits, config.rounding)
    ranges = zip(train.low[:-1].tolist(), train.high[:-1].tolist(), strict=True)
    found = quantized.model
    predictor = Predictor.of(schema, config.bits, ranges, found.coef.tolist(), found.intercept)
    laid_out = to_params(predictor, quantized)
    files.save_joblib(vars(model), UNQUANT_PARAMS)
    files.save_joblib(laid_out, QUANT_PARAMS)
    document.save(predictor, PREDICTOR)
    how = f"rounded by {config.rounding}"
    if config.rounding == "optimal":
        how = PROOF[quantized.optimal]
    size = plural(len(pack(predictor)), "byte")
    return f"{len(schema.features)} weights of {config.bits} bits, {size} in all, {how}"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Quantize)
