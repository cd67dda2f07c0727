"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from stages.predictor import document
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import PREDICTOR, QUANT_PARAMS, SUMS, TEST, TRAIN, UNQUANT_PARAMS
from stages.regression import scores, sums
from stages.regression.linear import Floats, LinearModel
from stages.regression.scores import Tally
from stages.regression.sums import Sums
from stages.tables import table
from stages.tables.table import Table

WEIGHT_COLUMNS = ("feature", "model", "effect", "weight", "mean")


def judge(rows: Floats, model: LinearModel, quantized: LinearModel) -> Floats:
    """Return the columns SAMPLE_COLUMNS for rows of a table; an error is predicted - actual."""
    X, y = rows[:, :-1], rows[:, -1]
    predicted = quantized.predict(X)
    calculated = np.column_stack([model.predict(X), predicted, predicted - y])
    return np.column_stack([y, calculated.round(files.DECIMALS)])


def effects(
    model: LinearModel, quantized: LinearModel, features: Iterable[str], std: Floats, mean: Floats
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield what one standard deviation of each feature adds to the prediction of either model.

    Weights themselves have the units of their features, so one picture cannot show them all. They
    stand behind it with the means of the features, for whoever calculates with them.
    """
    for name, shown in (("float", model), ("quantized", quantized)):
        per_deviation = (shown.coef * std).round(files.DECIMALS)
        numbers = np.column_stack([per_deviation, shown.coef, mean]).tolist()
        for feature, (effect, weight, average) in zip(features, numbers, strict=True):
            yield feature, name, effect, weight, average


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


def measure(
    models: tuple[LinearModel, LinearModel], learned: Sums, train: Table, test: Table
) -> dict[str, Any]:
    """Score the float and the quantized model on the rows of both tables."""
    on_train = Tally.of(models, train)
    try:
        on_test = Tally.of(models, test)
        with files.reading(TEST):
            tested = Sums.of_table(test)
        if not tested.variances[-1]:
            raise InputError(f"{TEST}: {test.schema.target} varies too little for an R²")
        return scores.compare(models, {"train": (learned, on_train), "test": (tested, on_test)})
    except OverflowError as error:
        raise InputError(
            f"{TEST}: a row lies so far outside the training range that its error is too large for"
            " a number: leave the row or the feature out"
        ) from error


def main() -> str:
    samples = params.read().evaluate.samples
    schema, learned = sums.load(SUMS)
    train, test = table.read(TRAIN).of(schema), table.read(TEST).of(schema)
    with files.reading(UNQUANT_PARAMS):
        stored = files.load_joblib(UNQUANT_PARAMS)
        model = LinearModel(np.array([*stored["coef"]]), stored["intercept"])
    with files.reading(QUANT_PARAMS):
        stored = files.load_joblib(QUANT_PARAMS)
        proof = {key: stored[key] for key in ("optimal", "nodes")}
        proof["payload_bits"] = 8 * len(stored["payload"])
    shipped = document.load(PREDICTOR)
    models = model, LinearModel(np.array(shipped.coef), shipped.intercept.value)
    scored = measure(models, learned, train, test)
    scored["quantization"] |= proof
    scored["intercept"] = {"float": model.intercept, "quantized": shipped.intercept.value}
    scored["predictor"] = document.digest(PREDICTOR)
    made = files.MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR
    scored["bytes"] = {path.name.replace(".", "_"): path.stat().st_size for path in made}
    told = headline(scored)
    raw, rows = test.sample()
    judged = judge(rows, *models).tolist()
    first = [(*cells, *numbers) for cells, numbers in zip(raw, judged, strict=True)][:samples]
    weights = effects(*models, schema.features, learned.std[:-1], learned.mean[:-1])

    files.save_json(told, files.METRICS)
    files.save_json(scored, files.SCORES)
    files.save_csv((*schema.kinds, *files.SAMPLE_COLUMNS), first, files.PREDICTIONS)
    files.save_csv(files.SAMPLE_COLUMNS, judged, files.PLOTS / "predictions.csv")
    files.save_csv(WEIGHT_COLUMNS, weights, files.PLOTS / "weights.csv")
    float_r2, quantized_r2 = told["test_r2"].values()
    growth = scored["quantization"]["mse_growth_percent"]
    return f"test R² {float_r2} float, {quantized_r2} quantized; training MSE grows by {growth} %"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Evaluate)
