"""How good a model is, and what quantization did to it: the numbers of `reports/scores.json`.

What sums of squares tell comes from the exact sums of a table; the rest needs a pass over its rows.
Neither the order of the rows nor the machine changes a bit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
PERFECT = Fraction(1, 10**12)  # 1 - R² of a perfect fit, for growth to be a number


@dataclass
class Seen:
    """What the rows tell of one model; sums are of whole numbers of the tally's unit."""

    low: float = np.inf
    high: float = -np.inf
    largest_difference: float = 0.0
    errors: int = 0
    differences: int = 0


class Tally:
    """What only rows tell of models: mean errors, ranges, and differences from the first model.

    Errors are added up as whole numbers of 2^-86 of the largest that there can be, in two halves
    of 43 bits, so that the sum of a block fits 64 bits and the order of the rows does not matter.

    `low` and `high` are the range of the features and the target. An `OverflowError` says that a
    row within it may be too far out for its error to be a number.
    """

    def __init__(self, models: Sequence[LinearModel], low: Floats, high: Floats) -> None:
        *farthest, largest_y = np.maximum(np.abs(low), np.abs(high))
        with np.errstate(over="ignore"):
            reach = max(sum(np.abs(m.coef) * farthest, abs(m.intercept)) for m in models)
        if not np.isfinite(reach):
            raise OverflowError("predictions are too large for numbers")
        self.places = 2 * HALF - int(np.frexp(2 * reach + largest_y)[1])
        self.n_rows = 0
        self.models = [(model, Seen()) for model in models]

    @classmethod
    def of(cls, models: Sequence[LinearModel], table: Table) -> Self:
        """Count the rows of a table, wherever they are."""
        tally = cls(models, table.low, table.high)
        if not table.rows:
            for block in table.blocks():
                tally.add(block)
        else:
            tally._ask(table)
        return tally

    def add(self, block: Floats) -> None:
        """Add rows, of shape (n_rows, n_columns)."""
        X, y = block[:, :-1], block[:, -1]
        self.n_rows += len(block)
        first = self.models[0][0].predict(X)
        for model, seen in self.models:
            prediction = model.predict(X)
            difference = np.abs(prediction - first)
            seen.low = min(seen.low, float(prediction.min()))
            seen.high = max(seen.high, float(prediction.max()))
            seen.errors += self._counted(np.abs(prediction - y))
            seen.differences += self._counted(difference)
            seen.largest_difference = max(seen.largest_difference, float(difference.max()))

    def _ask(self, table: Table) -> None:
        """Do what `add` does, for rows on a server."""
        *features, y = table.names
        unit = double(2.0 ** (self.places - 3 * QUARTER))
        first = f"({self.models[0][0].sql(features)})"
        ends, sizes = [], []
        for model, _ in self.models:
            p = f"({model.sql(features)})"
            difference = f"abs({p} - {first})"
            ends += [f"min({p})", f"max({p})", f"max({difference})"]
            sizes += [f"abs({p} - {y}) * {unit}", f"{difference} * {unit}"]
        found = table.asked(ends, table.rows)
        totals = exact.added(sizes, [(j,) for j in range(len(sizes))], 4, QUARTER, table)
        self.n_rows = table.n_rows
        columns = found[::3], found[1::3], found[2::3], totals[::2], totals[1::2]
        for k, seen in enumerate(zip(*columns, strict=True)):
            self.models[k] = self.models[k][0], Seen(*seen)

    def mean(self, total: int) -> float:
        """Return the mean of what has this sum."""
        return float(Fraction(total, self.n_rows) / Fraction(2) ** self.places)

    def _counted(self, sizes: Floats) -> int:
        scaled = np.ldexp(sizes, self.places - HALF)
        upper = np.floor(scaled)
        lower = np.floor((scaled - upper) * 2.0**HALF + 0.5)
        total, rest = (int(half.astype(np.int64).sum()) for half in (upper, lower))
        return (total << HALF) + rest


def r2(sums: Sums, model: LinearModel) -> float:
    """Return 1 - MSE / variance of the target."""
    return float(1 - mse(sums, model) / sums.variances[-1])


@lru_cache(maxsize=16)  # R² and growth ask for the same, and all growths for that of one model
def mse(sums: Sums, model: LinearModel) -> Fraction:
    _, square = sums.moments(model.intercept, [*model.coef, -1.0])
    return square


def regression(sums: Sums, model: LinearModel, tally: Tally, seen: Seen) -> dict[str, float]:
    """Score a model on the rows that `sums` and `tally` are of, to 6 decimals.

    `mean`, `std` (of the population), `min` and `max` are those of its predictions.
    """
    squared = mse(sums, model)
    mean, square = sums.moments(model.intercept, [*model.coef, 0.0])
    return _rounded(
        r2=r2(sums, model),
        mse=squared,
        rmse=root(squared),
        mae=tally.mean(seen.errors),
        mean=mean,
        std=root(square - mean**2),
        min=seen.low,
        max=seen.high,
    )


def mse_growth_percent(sums: Sums, before: LinearModel, after: LinearModel) -> float:
    """Return by how many percent the MSE of `after` exceeds that of `before`.

    To 4 significant digits. A perfect fit counts as one with an R² of 1 - 1e-12.
    """
    start = mse(sums, before)
    growth = (mse(sums, after) - start) / max(start, PERFECT * sums.variances[-1])
    return float(f"{float(100 * growth):.4g}")


def compare(models: Sequence[LinearModel], on: Mapping[str, tuple[Sums, Tally]]) -> dict[str, Any]:
    """Score a model and its quantized form, and by how much they differ.

    `on` has for 'train' and 'test' the sums, and a tally whose first models are these two.
    `prediction_difference.bound` holds for every input within the features' training range.
    """
    scores: dict[str, Any] = {
        name: {
            part: regression(sums, models[k], tally, tally.models[k][1])
            for part, (sums, tally) in on.items()
        }
        for k, name in enumerate(("float", "quantized"))
    }
    (model, quantized), (train, _), (_, tally) = models, on["train"], on["test"]
    _, seen = tally.models[1]
    error = np.abs(quantized.coef - model.coef)
    bound = largest_difference(model, quantized, train.low[:-1], train.high[:-1])
    drop = scores["float"]["test"]["r2"] - scores["quantized"]["test"]["r2"]
    difference = _rounded(mean=tally.mean(seen.differences), max=seen.largest_difference)
    scores["quantization"] = {
        "mse_growth_percent": mse_growth_percent(train, model, quantized),
        "r2_drop": round(drop, DECIMALS),
        "coef_error": _rounded(mean=error.mean(), max=error.max()),
        "intercept_error": round(abs(quantized.intercept - model.intercept), DECIMALS),
        "prediction_difference": difference | {"bound": _rounded_up(bound)},
    }
    return scores


def _rounded(**values: float | Fraction) -> dict[str, float]:
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


def _rounded_up(value: float) -> float:
    return float(math.ceil(Fraction(value) * 10**DECIMALS) / 10**DECIMALS)
