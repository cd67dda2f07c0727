"""The model as one SQL expression, which gives the same double in every engine.

It adds from left to right, beginning with the intercept, as `LinearModel.predict` does. Engines
that keep IEEE 754, which is all of them, then agree to the last bit.
"""

from collections.abc import Sequence

from stages.predictor import Predictor


def identifier(name: str) -> str:
    """Quote a name as standard SQL does."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("'", "''") + "'"


def double(value: float) -> str:
    """Write a float so that it comes back bit by bit, and as a double.

    Without an exponent many engines read `0.5` as a decimal, and calculate in decimals.
    """
    digits = repr(float(value))
    return digits if "e" in digits else digits + "e0"


def expression(predictor: Predictor, operands: Sequence[str]) -> str:
    """Return ``intercept + Σ weight · operand``, the operands being SQL for the features."""
    terms = [double(predictor.intercept.value)]
    for weight, operand in zip(predictor.coef, operands, strict=True):
        # subtracting is adding the negative, and leaves no two signs in a row
        terms.append(f"{'-' if weight < 0 else '+'} {double(abs(weight))} * {operand}")
    return " ".join(terms)


def select(predictor: Predictor, table: str) -> str:
    """Return the statement that predicts every row of `table`, which is taken as it is written.

    The columns are qualified: an unknown name in double quotes alone is a string to SQLite, Spark
    and MySQL, which would make it a zero without a word.
    """
    operands = [f"t.{identifier(feature.name)}" for feature in predictor.features]
    terms = expression(predictor, operands).replace(" + ", "\n    + ").replace(" - ", "\n    - ")
    return f"SELECT t.*,\n    {terms} AS prediction\nFROM {table} AS t"
