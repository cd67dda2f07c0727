"""How good a model is, and what quantization did to it: the numbers of `reports/scores.json`.

What sums of squares tell comes from the exact sums of a table; the rest needs a pass over its rows.
Neither the order of the rows nor the machine changes a bit.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from stages.columns.sql import double
from stages.project.cli import InputError
from stages.project.files import DECIMALS
from stages.regression.linear import LinearModel, largest_difference
from stages.regression.sums import Sums, add_up, root
from stages.tables.table import Table

DIGITS, WIDTH = 4, 22  # of an error, whose sum over 2^41 rows has 63 bits a digit
Models = tuple[LinearModel, LinearModel]  # a model and its quantized form
Seen = Mapping[str, float | Fraction]  # what only rows tell
Known = tuple[Sums, Sequence[Seen]]  # of the rows of a table
PERFECT = Fraction(1, 10**12)  # 1 - R² of a perfect fit, for growth to be a number


def tally(models: Models, table: Table) -> list[Seen]:
    """Look at the rows: mean absolute error, least and greatest prediction of either model.

    The last of the three has mean and maximum of |quantized - float|. Sizes are added up as whole
    numbers of 2^-86 of the largest that there can be. An `InputError` says that its square may be
    too large for a number.
    """
    *farthest, largest_y = np.maximum(np.abs(table.low), np.abs(table.high))
    with np.errstate(over="ignore"):
        reach = max(sum(np.abs(m.coef) * farthest, abs(m.intercept)) for m in models)
        largest = 2 * reach + largest_y
        if not np.isfinite(largest**2):
            raise InputError(
                f"{table.folder}: a row lies so far outside the training range that its error is"
                " too large for a number: leave the row or the feature out"
            )
    *features, y = table.names
    first, second = (f"({model.sql(features)})" for model in models)
    sizes = [f"abs({first} - {y})", f"abs({second} - {y})", f"abs({second} - {first})"]
    ends = [f"{end}({p})" for p in (first, second) for end in ("min", "max")]
    *ranges, most = table.ask([*ends, f"max({sizes[-1]})"])
    places = DIGITS * WIDTH - 2 - int(np.frexp(largest)[1])
    unit = double(2.0 ** (places - (DIGITS - 1) * WIDTH))
    totals = add_up([f"{x} * {unit}" for x in sizes], [(0,), (1,), (2,)], DIGITS, WIDTH, table)
    one, other, apart = (Fraction(n, table.n_rows) / Fraction(2) ** places for n in totals)
    return [
        {"mae": one, "min": ranges[0], "max": ranges[1]},
        {"mae": other, "min": ranges[2], "max": ranges[3]},
        {"mean": apart, "max": most},
    ]


def r2(sums: Sums, model: LinearModel) -> float:
    """Return 1 - MSE / variance of the target."""
    return float(1 - mse(sums, model) / sums.variances[-1])


def mse(sums: Sums, model: LinearModel) -> Fraction:
    _, square = sums.moments(model.intercept, [*model.coef, -1.0])
    return square


def score(sums: Sums, model: LinearModel, seen: Seen) -> dict[str, float]:
    """Score a model on the rows of `sums`, in which `tally` has seen `seen`, to 6 decimals."""
    squared = mse(sums, model)
    mean, square = sums.moments(model.intercept, [*model.coef, 0.0])
    return _round(
        r2=r2(sums, model),
        mse=squared,
        rmse=root(squared),
        mae=seen["mae"],
        mean=mean,  # of the predictions, as are the next three
        std=root(square - mean**2),
        min=seen["min"],
        max=seen["max"],
    )


def mse_growth_percent(sums: Sums, before: LinearModel, after: LinearModel) -> float:
    """Return by how many percent the MSE grows, to 4 digits, from 1 - 1e-12 in R² at most."""
    start = mse(sums, before)
    growth = (mse(sums, after) - start) / max(start, PERFECT * sums.variances[-1])
    return float(f"{float(100 * growth):.4g}")


def compare(models: Models, train: Known, test: Known) -> dict[str, Any]:
    """Score a model and its quantized form, and by how much they differ.

    `prediction_difference.bound` holds for every input within the features' training range.
    """
    parts = {"train": train, "test": test}
    scores: dict[str, Any] = {
        name: {part: score(sums, model, seen[which]) for part, (sums, seen) in parts.items()}
        for which, (name, model) in enumerate(zip(("float", "quantized"), models, strict=True))
    }
    (model, quantized), (learned, _), (_, (*_, apart)) = models, train, test
    error = np.abs(quantized.coef - model.coef)
    bound = largest_difference(model, quantized, learned.low[:-1], learned.high[:-1])
    drop = scores["float"]["test"]["r2"] - scores["quantized"]["test"]["r2"]
    scores["quantization"] = {
        "mse_growth_percent": mse_growth_percent(learned, model, quantized),
        "r2_drop": round(drop, DECIMALS),
        "coef_error": _round(mean=error.mean(), max=error.max()),
        "intercept_error": round(abs(quantized.intercept - model.intercept), DECIMALS),
        "prediction_difference": _round(**apart) | {"bound": round_up(bound)},
    }
    return scores


def _round(**values: float | Fraction) -> dict[str, float]:
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


def round_up(value: float) -> float:
    return float(math.ceil(Fraction(value) * 10**DECIMALS) / 10**DECIMALS)
