"""How good a model is, and what quantization did to it: the numbers of `reports/scores.json`.

What sums of squares tell comes from the exact sums of a table; the rest needs a pass over its rows.
Neither the order of the rows nor the machine changes a bit.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Self

import numpy as np

from stages.columns.sql import double
from stages.project.files import DECIMALS
from stages.regression import sums as exact
from stages.regression.linear import Floats, LinearModel, largest_difference
from stages.regression.sums import Sums, root
from stages.tables.table import Table

HALF = 43  # bits, of which 2^19 rows make 62
QUARTER = 22  # bits of a digit in SQL, of which 2^41 rows make 63
Models = tuple[LinearModel, LinearModel]  # a model and its quantized form
PERFECT = Fraction(1, 10**12)  # 1 - R² of a perfect fit, for growth to be a number


class Tally:
    """What only rows tell of a model and its quantized form: mean errors, ranges, differences.

    Errors are added up as whole numbers of 2^-86 of the largest that there can be, in two halves
    of 43 bits, so that the sum of a block fits 64 bits and the order of the rows does not matter.

    `low` and `high` are the range of the features and the target. An `OverflowError` says that a
    row within it may be too far out for its error to be a number.
    """

    def __init__(self, models: Models, low: Floats, high: Floats) -> None:
        *farthest, largest_y = np.maximum(np.abs(low), np.abs(high))
        with np.errstate(over="ignore"):
            reach = max(sum(np.abs(m.coef) * farthest, abs(m.intercept)) for m in models)
        if not np.isfinite(reach):
            raise OverflowError("predictions are too large for numbers")
        self.models = models
        self.places = 2 * HALF - int(np.frexp(2 * reach + largest_y)[1])
        self.n_rows = 0
        self.low, self.high = [np.inf] * 2, [-np.inf] * 2  # of the predictions of either model
        self.totals = [0] * 3  # errors of either, and differences, in units of 2^-places
        self.largest_difference = 0.0

    @classmethod
    def of(cls, models: Models, table: Table) -> Self:
        """Count the rows of a table, wherever they are."""
        tally = cls(models, table.low, table.high)
        if not table.select:
            for block in table.blocks():
                tally.add(block)
        else:
            tally._ask(table)
        return tally

    def add(self, block: Floats) -> None:
        """Add rows, of shape (n_rows, n_columns)."""
        X, y = block[:, :-1], block[:, -1]
        first, second = predictions = [model.predict(X) for model in self.models]
        difference = np.abs(second - first)
        self.n_rows += len(block)
        self.low = [min(x, float(p.min())) for x, p in zip(self.low, predictions, strict=True)]
        self.high = [max(x, float(p.max())) for x, p in zip(self.high, predictions, strict=True)]
        sizes = np.abs(first - y), np.abs(second - y), difference
        self.totals = [n + self._count(x) for n, x in zip(self.totals, sizes, strict=True)]
        self.largest_difference = max(self.largest_difference, float(difference.max()))

    def _ask(self, table: Table) -> None:
        """Do what `add` does, for rows on a server."""
        *features, y = table.names
        unit = double(2.0 ** (self.places - 3 * QUARTER))
        first, second = (f"({model.sql(features)})" for model in self.models)
        difference = f"abs({second} - {first})"
        ends = [f"{end}({p})" for end in ("min", "max") for p in (first, second)]
        sizes = (f"abs({first} - {y})", f"abs({second} - {y})", difference)
        found = table.ask([*ends, f"max({difference})"])
        self.n_rows = table.n_rows
        self.low, self.high, self.largest_difference = found[:2], found[2:4], found[4]
        numbers = [f"{size} * {unit}" for size in sizes]
        self.totals = exact.add_up(numbers, [(0,), (1,), (2,)], 4, QUARTER, table)

    def mean(self, total: int) -> float:
        """Return the mean of what has this sum."""
        return float(Fraction(total, self.n_rows) / Fraction(2) ** self.places)

    def _count(self, sizes: Floats) -> int:
        scaled = np.ldexp(sizes, self.places - HALF)
        upper = np.floor(scaled)
        lower = np.floor((scaled - upper) * 2.0**HALF + 0.5)
        total, rest = (int(half.astype(np.int64).sum()) for half in (upper, lower))
        return (total << HALF) + rest


def r2(sums: Sums, model: LinearModel) -> float:
    """Return 1 - MSE / variance of the target."""
    return float(1 - mse(sums, model) / sums.variances[-1])


@lru_cache(maxsize=4)  # R² and growth ask for the same
def mse(sums: Sums, model: LinearModel) -> Fraction:
    _, square = sums.moments(model.intercept, [*model.coef, -1.0])
    return square


def regression(sums: Sums, tally: Tally, which: int) -> dict[str, float]:
    """Score one of the two models on the rows that `sums` and `tally` are of, to 6 decimals.

    `mean`, `std` (of the population), `min` and `max` are those of its predictions.
    """
    model = tally.models[which]
    squared = mse(sums, model)
    mean, square = sums.moments(model.intercept, [*model.coef, 0.0])
    return _round(
        r2=r2(sums, model),
        mse=squared,
        rmse=root(squared),
        mae=tally.mean(tally.totals[which]),
        mean=mean,
        std=root(square - mean**2),
        min=tally.low[which],
        max=tally.high[which],
    )


def mse_growth_percent(sums: Sums, before: LinearModel, after: LinearModel) -> float:
    """Return by how many percent the MSE of `after` exceeds that of `before`.

    To 4 significant digits. A perfect fit counts as one with an R² of 1 - 1e-12.
    """
    start = mse(sums, before)
    growth = (mse(sums, after) - start) / max(start, PERFECT * sums.variances[-1])
    return float(f"{float(100 * growth):.4g}")


def compare(models: Models, on: Mapping[str, tuple[Sums, Tally]]) -> dict[str, Any]:
    """Score a model and its quantized form, and by how much they differ.

    `on` has sums and tally of the rows for 'train' and 'test'. `prediction_difference.bound` holds
    for every input within the features' training range.
    """
    scores: dict[str, Any] = {
        name: {part: regression(sums, tally, which) for part, (sums, tally) in on.items()}
        for which, name in enumerate(("float", "quantized"))
    }
    (model, quantized), (train, _), (_, tally) = models, on["train"], on["test"]
    error = np.abs(quantized.coef - model.coef)
    bound = largest_difference(model, quantized, train.low[:-1], train.high[:-1])
    drop = scores["float"]["test"]["r2"] - scores["quantized"]["test"]["r2"]
    difference = _round(mean=tally.mean(tally.totals[-1]), max=tally.largest_difference)
    scores["quantization"] = {
        "mse_growth_percent": mse_growth_percent(train, model, quantized),
        "r2_drop": round(drop, DECIMALS),
        "coef_error": _round(mean=error.mean(), max=error.max()),
        "intercept_error": round(abs(quantized.intercept - model.intercept), DECIMALS),
        "prediction_difference": difference | {"bound": _round_up(bound)},
    }
    return scores


def _round(**values: float | Fraction) -> dict[str, float]:
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


def _round_up(value: float) -> float:
    return float(math.ceil(Fraction(value) * 10**DECIMALS) / 10**DECIMALS)
