"""Evaluate the float and the quantized model: metrics, sample predictions and plots."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from stages.predictor import document
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import (
    DECIMALS,
    METRICS,
    MODEL,
    PLOTS,
    PREDICTIONS,
    PREDICTOR,
    QUANT_PARAMS,
    SAMPLE_COLUMNS,
    SCORES,
    SUMS,
    TEST,
    TRAIN,
    UNQUANT_PARAMS,
)
from stages.quantizer.codes import Codes, pack, unpack
from stages.quantizer.others import others
from stages.quantizer.solve import quantize
from stages.regression import scores, sums
from stages.regression.linear import Floats, LinearModel
from stages.regression.scores import Tally
from stages.regression.sums import Sums
from stages.tables import table
from stages.tables.table import Schema, Table

REMEDY = "`dvc repro` makes both"
Way = tuple[str, int, int, LinearModel]  # rounding, bits, payload_bytes, quantized model
SWEEP_COLUMNS = (
    "rounding",
    "bits",
    "payload_bytes",
    "mse_growth_percent",
    "train_r2",
    "test_r2",
    "largest_difference",
)


def judge(rows: Floats, model: LinearModel, quantized: LinearModel) -> Floats:
    """Predict rows of a table, of shape (n_rows, n_features + 1), and compare.

    Returns
    -------
    ndarray of shape (n_rows, 4)
        Actual value, float and quantized prediction, and its error, which is predicted - actual.
        In the unit of the target, what is calculated to 6 decimals.
    """
    X, y = rows[:, :-1], rows[:, -1]
    predicted = quantized.predict(X)
    calculated = np.column_stack([model.predict(X), predicted, predicted - y])
    return np.column_stack([y, calculated.round(DECIMALS)])


def sweep(model: LinearModel, train: Sums) -> Iterator[Way]:
    """Quantize the weights in every way that `reports/plots/sweep.csv` compares.

    In 1 to 16 bits by each way of rounding, and in the formats of others.

    Yields
    ------
    rounding, bits, payload_bytes, quantized model
    """
    for rounding in ("nearest", "gptq", "optimal"):
        for quantized in quantize(model.coef, train, rounding):
            codes = quantized.codes
            yield rounding, codes.bits, len(pack(codes)), codes.model
    yield from others(model, train)


def scored_sweep(
    model: LinearModel, swept: Sequence[Way], train: Sums, test: Sums, on_test: Tally
) -> Iterator[tuple[str | int | float, ...]]:
    """Score what `sweep` yields, which the tally has behind two other models."""
    for (rounding, bits, payload_bytes, quantized), (_, seen) in zip(
        swept, on_test.models[2:], strict=True
    ):
        growth = scores.mse_growth_percent(train, model, quantized)
        r2 = (round(scores.r2(rows, quantized), DECIMALS) for rows in (train, test))
        largest = round(seen.largest_difference, DECIMALS)
        yield rounding, bits, payload_bytes, growth, *r2, largest


def effects(
    model: LinearModel, quantized: LinearModel, features: Iterable[str], std: Floats
) -> Iterator[tuple[str, str, float]]:
    """Yield what one standard deviation of each feature adds to the prediction of either model.

    Weights themselves have the units of their features, so one picture cannot show them all.
    """
    for name, shown in (("float", model), ("quantized", quantized)):
        per_deviation = (shown.coef * std).round(DECIMALS).tolist()
        for feature, effect in zip(features, per_deviation, strict=True):
            yield feature, name, effect


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


def load_model(schema: Schema, train: Sums) -> LinearModel:
    """Load the unquantized model, which must have been learned from these rows."""
    stored = files.load_joblib(UNQUANT_PARAMS)
    with files.reading(UNQUANT_PARAMS):
        model = LinearModel(np.array(stored["coef"], float), float(stored["intercept"]))
        if model.coef.shape != (len(schema.features),) or not np.isfinite(model.coef).all():
            raise ValueError("it has not one finite weight a feature")
        if model.intercept != train.intercept(model.coef):
            raise InputError(f"{UNQUANT_PARAMS} is for other rows than {SUMS}; {REMEDY}")
    return model


def load_codes(schema: Schema, train: Sums) -> tuple[Codes, dict[str, Any]]:
    """Load the codes, which must be those of the predictor, and made for these rows.

    Returns
    -------
    codes : Codes
    proof : dict
        Whether they are optimal, and the nodes visited.
    """
    shipped = document.load(PREDICTOR)
    names, lows, highs, chosen, exponents = zip(*map(astuple, shipped.features), strict=True)
    ranges = np.array([lows, highs]), np.array([train.low, train.high])[:, :-1]
    if (shipped.dataset, names) != (schema.dataset, schema.features) or not np.array_equal(*ranges):
        raise InputError(f"{PREDICTOR} is for another table than {SUMS}; {REMEDY}")
    stored = files.load_joblib(QUANT_PARAMS)
    with files.reading(QUANT_PARAMS):
        codes = unpack(stored["payload"], len(names))
        proof = {"optimal": bool(stored["optimal"]), "nodes": int(stored["nodes"])}
    intercept = codes.intercept, codes.intercept_exponent
    if (
        (codes.bits, intercept) != (shipped.bits, astuple(shipped.intercept))
        or tuple(codes.codes) != chosen
        or tuple(codes.exponents) != exponents
    ):
        raise InputError(f"{QUANT_PARAMS} has another model than {PREDICTOR}; {REMEDY}")
    return codes, proof


def measured(
    model: LinearModel, quantized: LinearModel, learned: Sums, train: Table, test: Table
) -> tuple[dict[str, Any], list[tuple[str | int | float, ...]]]:
    """Score both models, and the sweep, in one pass over the rows of each table.

    Returns
    -------
    scores : dict
    sweep : list of rows of SWEEP_COLUMNS
    """
    on_train = Tally([model, quantized], train.low, train.high)
    for block in train.blocks():
        on_train.add(block)
    swept = list(sweep(model, learned))
    try:
        on_test = Tally([model, quantized, *(way[-1] for way in swept)], test.low, test.high)
        with files.reading(TEST):
            tested = Sums.of(on_test.watching(test.blocks()), test.low, test.high)
        if not tested.variances[-1]:
            raise InputError(f"{TEST}: {test.schema.target} varies too little for an R²")
        on = {"train": (learned, on_train), "test": (tested, on_test)}
        scored = scores.compare([model, quantized], on)
        return scored, list(scored_sweep(model, swept, learned, tested, on_test))
    except OverflowError as error:
        raise InputError(
            f"{TEST}: a row lies so far outside the training range that its error is too large for"
            " a number: leave the row or the feature out"
        ) from error


def main() -> str:
    samples = params.read().evaluate.samples
    schema, learned = sums.load(SUMS)
    train, test = table.read(TRAIN, schema), table.read(TEST, schema)
    ranges = [train.low, train.high], [learned.low, learned.high]
    if train.n_rows != learned.n_rows or not np.array_equal(*ranges):
        raise InputError(f"{SUMS} is for other rows than {TRAIN}; {REMEDY}")
    model = load_model(schema, learned)
    codes, proof = load_codes(schema, learned)
    quantized = codes.model
    scored, sweep_rows = measured(model, quantized, learned, train, test)
    scored["quantization"] |= proof | {"payload_bits": 8 * len(pack(codes))}
    scored["bytes"] = {
        path.name.replace(".", "_"): path.stat().st_size
        for path in (MODEL, UNQUANT_PARAMS, QUANT_PARAMS, PREDICTOR)
    }
    shown = test.sample()
    rows = judge(shown, model, quantized)
    sample_rows = np.column_stack([shown[:, :-1], rows])[:samples]

    told = headline(scored)
    files.save_json(told, METRICS)
    files.save_json(scored, SCORES)
    files.save_csv(schema.features + SAMPLE_COLUMNS, sample_rows.tolist(), PREDICTIONS)
    files.save_csv(SAMPLE_COLUMNS, rows.tolist(), PLOTS / "predictions.csv")
    files.save_csv(
        ("feature", "model", "effect"),
        effects(model, quantized, schema.features, learned.std[:-1]),
        PLOTS / "weights.csv",
    )
    files.save_csv(SWEEP_COLUMNS, sweep_rows, PLOTS / "sweep.csv")
    float_r2, quantized_r2 = told["test_r2"].values()
    growth = scored["quantization"]["mse_growth_percent"]
    return f"test R² {float_r2} float, {quantized_r2} quantized; training MSE grows by {growth} %"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Evaluate)
