"""Quantize the trained model as `quantize` in params.yaml says, and write the predictor."""

from array import array

import joblib

from stages.predictor.document import PROOF, Predictor
from stages.predictor.payload import pack
from stages.project import cli, files, params
from stages.project.cli import plural
from stages.project.files import MODEL, PREDICTOR, QUANT_PARAMS, SUMS, UNQUANT_PARAMS
from stages.quantizer.solve import Quantized, quantize
from stages.regression import sums
from stages.regression.fit import fold


def to_params(predictor: Predictor, quantized: Quantized) -> dict[str, object]:
    """Lay out `quant_params.joblib`; a weight is scale · (code - zero_point).

    The arrays are not numpy's, which would take more bytes than the model.
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
    learned = sums.load(SUMS)
    schema, train = learned.schema, learned.sums
    with files.reading(MODEL):
        model = fold(joblib.load(MODEL), train)
    quantized = quantize(model.coef, train, config.bits, config.rounding)
    ranges = zip(train.low[:-1].tolist(), train.high[:-1].tolist(), strict=True)
    found = quantized.model
    predictor = Predictor.of(schema, config.bits, ranges, found.coef.tolist(), found.intercept)
    files.save_joblib(vars(model), UNQUANT_PARAMS)
    files.save_joblib(to_params(predictor, quantized), QUANT_PARAMS)
    files.save_json(predictor, PREDICTOR)
    optimal = config.rounding == "optimal"
    how = PROOF[quantized.optimal] if optimal else f"rounded by {config.rounding}"
    size = plural(len(pack(predictor)), "byte")
    weights = plural(len(schema.features), "weight")
    return f"{weights} of {plural(config.bits, 'bit')}, {size} in all, {how}"


if __name__ == "__main__":
    cli.run(main, __doc__)
