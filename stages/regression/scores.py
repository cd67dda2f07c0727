"""How good a model is, and what quantization did to it: the numbers of `reports/scores.json`.

What sums of squares tell comes from the exact sums of a table; the rest needs a pass over its rows.
Neither the order of the rows nor the machine changes a bit.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from statistics import fmean, pstdev
from typing import Any

import numpy as np

from stages.columns.sql import double
from stages.project.cli import InputError
from stages.project.files import DECIMALS
from stages.regression.linear import LinearModel, largest_difference
from stages.regression.sums import Sums, add_up, root
from stages.tables.relation import Rows
from stages.tables.table import Table

DIGITS, WIDTH = 4, 22  # of an error, whose sum over 2^41 rows has 63 bits a digit
Models = tuple[LinearModel, LinearModel]  # a model and its quantized form
Seen = Mapping[str, float | Fraction]  # what only rows tell
Known = tuple[Sums, Sequence[Seen]]  # of the rows of a table
SHARES = ("0.5", "0.8", "0.9", "0.95")  # of rows that lie within an interval
LEAST = 20  # rows that tell an interval: one in twenty lies outside the widest
PERFECT = Fraction(1, 10**12)  # 1 - R² of a perfect fit, for growth to be a number


def tally(models: Models, table: Table, mean: float = 0.0) -> list[Seen]:
    """Look at the rows: mean absolute error, least and greatest prediction of either model.

    The third has mean and maximum of |quantized - float|, and the last the mean of |mean - y|.
    Sizes are added up as whole numbers of 2^-86 of the largest that there can be. An `InputError`
    says that its square may be too large for a number.
    """
    *farthest, largest_y = np.maximum(np.abs(table.low), np.abs(table.high))
    with np.errstate(over="ignore"):
        reach = max(sum(np.abs(m.coef) * farthest, abs(m.intercept)) for m in models)
        largest = 2 * max(reach, abs(mean)) + largest_y
        if not np.isfinite(largest**2):
            what = "its error is too large for a number: leave the row or the feature out"
            far = f"{table.folder}: a row lies so far outside the training range that"
            raise InputError(f"{far} {what}")
    *features, y = table.names
    first, second = (f"({model.sql(features)})" for model in models)
    pairs = [(first, y), (second, y), (second, first), (double(mean), y)]
    sizes = [f"abs({one} - {other})" for one, other in pairs]
    ends = [f"{end}({p})" for p in (first, second) for end in ("min", "max")]
    *ranges, most = table.ask([*ends, f"max({sizes[2]})"])
    places = DIGITS * WIDTH - 2 - int(np.frexp(largest)[1])
    unit = double(2.0 ** (places - (DIGITS - 1) * WIDTH))
    numbers, n_digits = {j: f"{x} * {unit}" for j, x in enumerate(sizes)}, [DIGITS] * len(sizes)
    _, totals = add_up(numbers, [(j,) for j in numbers], n_digits, WIDTH, table)[0]
    one, other, apart, around = (Fraction(n, table.n_rows) / Fraction(2) ** places for n in totals)
    return [
        {"mae": one, "min": ranges[0], "max": ranges[1]},
        {"mae": other, "min": ranges[2], "max": ranges[3]},
        {"mean": apart, "max": most},
        {"mae": around},
    ]


def half_widths(quantized: LinearModel, table: Table) -> dict[str, float]:
    """Return for each of `SHARES` the half-width of an interval around predictions, rounded up.

    Of new rows like those m of the table, such a share lies within: the half-width is the
    ⌈(m + 1) · share⌉-th smallest |error| (split conformal prediction: Lei et al., Distribution-free
    predictive inference for regression, JASA 113, 2018). There is none for fewer than `LEAST` rows.
    """
    if table.n_rows < LEAST:
        return {}
    *features, y = table.names
    error = f"abs({quantized.sql(features)} - {y})"
    place = f"row_number() OVER (ORDER BY {error})"
    rows = Rows(f"({table.rows.select([f'{error} AS size', f'{place} AS place'])}) AS t")
    ranks = (math.ceil((table.n_rows + 1) * Fraction(share)) for share in SHARES)
    found = table.ask([f"max(CASE WHEN place = {rank} THEN size END)" for rank in ranks], rows)
    return {share: round_up(size) for share, size in zip(SHARES, found, strict=True)}


def r2(sums: Sums, model: LinearModel) -> float:
    """Return 1 - MSE / variance of the target."""
    return float(1 - mse(sums, model) / sums.variances[-1])


def mse(sums: Sums, model: LinearModel) -> Fraction:
    return sums.moments(model.intercept, [*model.coef, -1.0])[1]


def score(sums: Sums, model: LinearModel, seen: Seen) -> dict[str, float]:
    """Score a model on the rows of `sums`, in which `tally` has seen `seen`, to 6 decimals."""
    squared = mse(sums, model)
    mean, square = sums.moments(model.intercept, [*model.coef, 0.0])
    rated = _round(r2=r2(sums, model), mse=squared, rmse=root(squared), mae=seen["mae"])
    # of the predictions
    return rated | _round(mean=mean, std=root(square - mean**2), min=seen["min"], max=seen["max"])


def mse_growth_percent(sums: Sums, before: LinearModel, after: LinearModel) -> float:
    """Return by how many percent the MSE grows, to 4 digits, from 1 - 1e-12 in R² at most."""
    start = mse(sums, before)
    growth = (mse(sums, after) - start) / max(start, PERFECT * sums.variances[-1])
    return float(f"{float(100 * growth):.4g}")


def assess(sums: Sums, model: LinearModel) -> dict[str, float]:
    """Return how well a model fits the rows that it was fitted to, unless it fits them exactly."""
    p, squared = len(model.coef), mse(sums, model)
    freedom = sums.n_rows - p - 1
    if freedom < 1 or not squared:
        return {}
    left = squared / sums.variances[-1] / freedom  # of the variance, by a degree of freedom
    rated = _round(sigma=root(sums.n_rows * squared / freedom), f=(1 - left * freedom) / p / left)
    adjusted = _round(adjusted_r2=1 - left * (sums.n_rows - 1))
    return {"degrees_of_freedom": freedom} | rated | adjusted


def compare(models: Models, train: Known, test: Known | None) -> dict[str, Any]:
    """Score a model and its quantized form, and by how much they differ.

    `prediction_difference.bound` holds for every input within the features' training range.
    """
    parts = {"train": train} | ({"test": test} if test else {})
    scores: dict[str, Any] = {
        name: {part: score(sums, model, seen[which]) for part, (sums, seen) in parts.items()}
        for which, (name, model) in enumerate(zip(("float", "quantized"), models, strict=True))
    }
    (model, quantized), (learned, _) = models, train
    error = np.abs(quantized.coef - model.coef)
    bound = largest_difference(model, quantized, learned.low[:-1], learned.high[:-1])
    found: dict[str, Any] = {
        "mse_growth_percent": mse_growth_percent(learned, model, quantized),
        "coef_error": _round(mean=error.mean(), max=error.max()),
        "intercept_error": round(abs(quantized.intercept - model.intercept), DECIMALS),
        "prediction_difference": {"bound": round_up(bound)},
    }
    if test:
        sums, (*_, apart, around) = test
        drop = scores["float"]["test"]["r2"] - scores["quantized"]["test"]["r2"]
        found["r2_drop"] = round(drop, DECIMALS)
        most = {"max": round_up(apart["max"])}
        found["prediction_difference"] |= _round(mean=apart["mean"]) | most
        mean = LinearModel(np.zeros_like(model.coef), float(learned.means[-1]))
        scores["baseline"] = _round(rmse=root(mse(sums, mean)), mae=around["mae"])
    return scores | {"fit": assess(learned, model), "quantization": found}


def summarize_folds(r2: Sequence[float]) -> dict[str, Any]:
    """Return R² of each fold, if there are any, their mean and standard deviation."""
    if not r2:
        return {}
    folds = [round(each, DECIMALS) for each in r2]
    return _round(mean=fmean(r2), std=pstdev(r2)) | {"folds": folds}


def _round(**values: float | Fraction) -> dict[str, float]:
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


def round_up(value: float | Fraction) -> float:
    return float(math.ceil(Fraction(value) * 10**DECIMALS) / 10**DECIMALS)
