"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import joblib
import numpy as np

from stages.predictor import document
from stages.project import cli, files, params
from stages.project.files import MODEL, PREDICTOR, QUANT_PARAMS, SUMS, TEST, TRAIN, UNQUANT_PARAMS
from stages.regression import scores, sums
from stages.regression.linear import Floats, LinearModel
from stages.regression.scores import Models
from stages.regression.sums import Sums
from stages.tables import table

WEIGHT_COLUMNS = ("feature", "model", "effect", "weight", "mean")


def judge(rows: Floats, model: LinearModel, quantized: LinearModel) -> Floats:
    """Return the columns SAMPLE_COLUMNS for rows of a table; an error is predicted - actual."""
    X, y = rows[:, :-1], rows[:, -1]
    predicted = quantized.predict(X)
    calculated = np.column_stack([model.predict(X), predicted, predicted - y])
    return np.column_stack([y, calculated.round(files.DECIMALS)])


def effects(
    models: Models, features: Iterable[str], learned: Sums
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield what one standard deviation of each feature adds, with its weight and mean."""
    std, mean = learned.std[:-1], learned.means[:-1].astype(float)
    for name, model in zip(("float", "quantized"), models, strict=True):
        added = (model.coef * std).round(files.DECIMALS)
        columns = added.tolist(), model.coef.tolist(), mean.tolist()
        for feature, *numbers in zip(features, *columns, strict=True):
            yield feature, name, *numbers


def headline(scored: Mapping[str, Any]) -> dict[str, Any]:
    """Take out of the scores what `dvc metrics show` tells in one line."""
    found = scored["quantization"]
    r2 = {name: scored[name]["test"]["r2"] for name in ("float", "quantized")}
    # at 8 bits a percentage would have nothing but zeros in the columns of DVC
    growth = float(f"{1e4 * found['mse_growth_percent']:.4g}")
    proof = {name: found[name] for name in ("payload_bits", "optimal")}
    return {"test_r2": r2, "growth_ppm": growth} | proof


def main() -> str:
    samples = params.read().evaluate.samples
    schema, learned = sums.load(SUMS)
    with files.reading(SUMS):
        train, test = table.read(TRAIN).of(schema), table.read(TEST).of(schema)
    with files.reading(UNQUANT_PARAMS):
        model = LinearModel(**joblib.load(UNQUANT_PARAMS))
    with files.reading(QUANT_PARAMS):
        stored = joblib.load(QUANT_PARAMS)
        proof = {key: stored[key] for key in ("optimal", "nodes")}
        proof["payload_bits"] = 8 * len(stored["payload"])
    shipped = document.load(PREDICTOR)
    models = model, LinearModel(np.array(shipped.coef), shipped.intercept.value)
    on_train, on_test = scores.tally(models, train), scores.tally(models, test)
    scored = scores.compare(models, (learned, on_train), (Sums.of_table(test), on_test))
    scored["quantization"] |= proof
    scored["intercept"] = {"float": model.intercept, "quantized": shipped.intercept.value}
    scored["predictor"] = document.digest(PREDICTOR)
    made = MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR
    scored["bytes"] = {path.name.replace(".", "_"): path.stat().st_size for path in made}
    told = headline(scored)
    raw, rows = test.sample()
    judged = judge(rows, *models).tolist()
    first = [(*cells, *numbers) for cells, numbers in zip(raw, judged, strict=True)][:samples]
    weights = effects(models, schema.features, learned)

    files.save_json(told, files.METRICS)
    files.save_json(scored, files.SCORES)
    files.save_csv((*schema.kinds, *files.SAMPLE_COLUMNS), first, files.PREDICTIONS)
    files.save_csv(files.SAMPLE_COLUMNS, judged, files.PLOTS / "predictions.csv")
    files.save_csv(WEIGHT_COLUMNS, weights, files.PLOTS / "weights.csv")
    float_r2, quantized_r2 = told["test_r2"].values()
    growth = scored["quantization"]["mse_growth_percent"]
    return f"test R² {float_r2} float, {quantized_r2} quantized; training MSE grows by {growth} %"


if __name__ == "__main__":
    cli.run(main, __doc__)
