"""Predict rows of JSON in plain Python, with the bits that `expression` has in SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any

from stages.columns.inputs import MUST_BE, parse
from stages.predictor.document import Predictor
from stages.project.cli import InputError
from stages.project.text import label, show


@dataclass(frozen=True)
class Prediction:
    """A prediction, and for each column that is unlike the training rows what is unlike."""

    value: float
    warnings: Mapping[str, str]


class Scorer:
    """A predictor made ready for single rows."""

    def __init__(self, model: Predictor) -> None:
        self.kinds, self.levels = model.schema.kinds, model.levels
        self.intercept = model.intercept.value
        scales = [2.0**feature.exponent for feature in model.features]
        self.terms = [*zip(model.features, model.multipliers, scales, strict=True)]

    def predict(self, row: Mapping[str, Any], place: str) -> Prediction:
        """Return the prediction of one row, whose values are those of JSON by column.

        An `InputError`, which begins with `place`, says that a value is not of the kind of its
        column, or that a gap or a size allows no prediction.
        """
        values, warnings = {}, {}
        for name, kind in self.kinds.items():
            try:
                values[name] = x = parse(row[name], kind)
            except KeyError as error:
                raise InputError(f"{place}: column {label(name)} is missing") from error
            except (ValueError, OverflowError) as error:
                what = f"{label(name)} is {show(row[name])}, must be {MUST_BE[kind]}"
                raise InputError(f"{place}: {what}") from error
            if kind == "text" and x is not None and x not in self.levels[name]:
                warnings[name] = f"{label(name)} is {show(x)}, which training has not seen"
        y = self.intercept
        for each, multiplier, scale in self.terms:
            x = each.number(values)
            if isnan(x):
                what = f"{label(each.column)} is empty, must be {MUST_BE[each.kind]}"
                raise InputError(f"{place}: {what}")
            y += multiplier * (x / scale)
            if not each.min <= x <= each.max:
                # in so many digits that what is outside does not look like an end of the range
                text = "{:.15g}".format if each.kind == "number" else each.show
                seen = f"training has {text(each.min)} to {text(each.max)}"
                warnings[each.column] = f"{label(each.column)} is {text(x)}, {seen}"
        if not isfinite(y):
            raise InputError(f"{place}: the prediction is too large for a number")
        return Prediction(y, warnings)
