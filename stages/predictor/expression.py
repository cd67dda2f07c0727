"""The model as one SQL expression, which gives the same double in every engine.

It adds from left to right, beginning with the intercept, as `LinearModel.predict` does, so that
engines which keep IEEE 754 agree to the last bit.
"""

from collections.abc import Sequence

from stages.predictor.document import Predictor
from stages.tables.sql import double, identifier


def expression(predictor: Predictor, operands: Sequence[str], separator: str = " ") -> str:
    """Return ``intercept + Σ weight · operand``, the operands being SQL for the features."""
    terms = [double(predictor.intercept.value)]
    for weight, operand in zip(predictor.coef, operands, strict=True):
        # subtracting is adding the negative, and leaves no two signs in a row
        terms.append(f"{'-' if weight < 0 else '+'} {double(abs(weight))} * {operand}")
    return separator.join(terms)


def select(predictor: Predictor, table: str) -> str:
    """Return the statement that predicts every row of `table`, which is taken as it is written.

    The columns are qualified: an unknown name in double quotes alone is a string to SQLite, Spark
    and MySQL, which would make it a zero without a word.
    """
    operands = [f"t.{identifier(feature.name)}" for feature in predictor.features]
    terms = expression(predictor, operands, "\n    ")
    return f"SELECT t.*,\n    {terms} AS prediction\nFROM {table} AS t"
