"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import joblib
import numpy as np

from stages.predictor import document
from stages.project import cli, files, params
from stages.project.cli import plural
from stages.project.files import MODEL, PREDICTOR, QUANT_PARAMS, SUMS, TEST, TRAIN, UNQUANT_PARAMS
from stages.regression import scores, sums
from stages.regression.linear import Floats, LinearModel
from stages.regression.scores import Models
from stages.regression.sums import Sums
from stages.tables import table

WEIGHT_COLUMNS = ("feature", "model", "effect", "weight", "mean", "p1", "p99")


def judge(rows: Floats, model: LinearModel, quantized: LinearModel) -> Floats:
    """Return the columns SAMPLE_COLUMNS for rows of a table; an error is predicted - actual."""
    X, y = rows[:, :-1], rows[:, -1]
    predicted = quantized.predict(X)
    calculated = np.column_stack([model.predict(X), predicted, predicted - y])
    return np.column_stack([y, calculated.round(files.DECIMALS)])


def effects(models: Models, features: Iterable[str], learned: Sums, X: Floats) -> Iterator[Any]:
    """Yield WEIGHT_COLUMNS: what a deviation adds, …, and percentiles of X, as sums have none."""
    std, mean = learned.std[:-1], learned.means[:-1].astype(float)
    known = mean, *np.quantile(X, (0.01, 0.99), axis=0, method="nearest")
    for name, model in zip(("float", "quantized"), models, strict=True):
        columns = [(model.coef * std).round(files.DECIMALS), model.coef, *known]
        for feature, *numbers in zip(features, *map(np.ndarray.tolist, columns), strict=True):
            yield feature, name, *numbers


def headline(scored: Mapping[str, Any]) -> dict[str, Any]:
    """Take out of the scores what `dvc metrics show` tells in one line."""
    found, told = scored["quantization"], {}
    if "baseline" in scored:  # there are test rows
        told["test_r2"] = scored["quantized"]["test"]["r2"]
        told["float_r2"] = scored["float"]["test"]["r2"]
    if folds := scored["cv_r2"]:
        told["cv_r2"] = {name: folds[name] for name in ("mean", "std")}
    # at 8 bits a percentage would have nothing but zeros in the columns of DVC
    growth = float(f"{1e4 * found['mse_growth_percent']:.4g}")
    return told | {"growth_ppm": growth, "payload_bits": found["payload_bits"]}


def summarize(scored: Mapping[str, Any]) -> str:
    """Say how good the model is, in one line."""
    folds, test = scored["cv_r2"], scored["quantized"].get("test")
    said = [document.FOLDS.format(folds, len(folds["folds"]))] if folds else []
    if not test:
        return "; ".join([*said, "there are no test rows"])
    said.append(f"test R² {scored['float']['test']['r2']} float, {test['r2']} quantized")
    mae, mean = test["mae"], scored["baseline"]["mae"]
    less = 100 * (1 - mae / mean) if mean else 0.0
    side = "below" if less >= 0 else "above"
    return "; ".join([*said, f"MAE {mae}, {abs(less):.0f} % {side} that of the mean"])


def main() -> str:
    samples = params.read().evaluate.samples
    learned = sums.load(SUMS)
    schema, known = learned.schema, learned.sums
    with files.reading(SUMS):
        train, test = table.read(TRAIN).of(schema), table.read(TEST).of(schema)
    with files.reading(UNQUANT_PARAMS):
        model = LinearModel(**joblib.load(UNQUANT_PARAMS))
    with files.reading(QUANT_PARAMS):
        stored = joblib.load(QUANT_PARAMS)
        proof = {key: stored[key] for key in ("optimal", "nodes")}
        proof["payload_bits"] = 8 * len(stored["payload"])
    shipped = document.load(PREDICTOR)
    quantized = LinearModel(np.array(shipped.coef), shipped.intercept.value)
    models, held_out = (model, quantized), None
    if test.n_rows:
        held_out = Sums.of_table(test)[0], scores.tally(models, test, float(known.means[-1]))
    scored = scores.compare(models, (known, scores.tally(models, train)), held_out)
    scored["quantization"] |= proof
    scored["cv_r2"] = scores.summarize_folds(learned.r2)
    scored["half_widths"] = scores.half_widths(quantized, test)
    if not scored["half_widths"]:
        few = f"{plural(test.n_rows, 'test row')} cannot tell how far off predictions are"
        cli.say(f"evaluate: {few}, at least {scores.LEAST} can")
    scored["intercept"] = {"float": model.intercept, "quantized": quantized.intercept}
    scored["rows"] = {"train": known.n_rows, "test": test.n_rows}
    scored["gaps"] = train.gaps
    scored["predictor"] = document.digest(PREDICTOR)
    made = MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR
    scored["bytes"] = {path.name.replace(".", "_"): path.stat().st_size for path in made}
    raw, rows = test.sample()
    judged = judge(rows, *models).tolist()
    first = [(*cells, *numbers) for cells, numbers in zip(raw, judged, strict=True)][:samples]
    weights = effects(models, schema.features, known, rows[:, :-1])

    files.save_json(headline(scored), files.METRICS)
    files.save_json({name: part for name, part in scored.items() if part}, files.SCORES)
    files.save_csv((*schema.kinds, *files.SAMPLE_COLUMNS), first, files.PREDICTIONS)
    files.save_csv(files.SAMPLE_COLUMNS, judged, files.PLOTS / "predictions.csv")
    files.save_csv(WEIGHT_COLUMNS, weights, files.PLOTS / "weights.csv")
    return summarize(scored)


if __name__ == "__main__":
    cli.run(main, __doc__)
