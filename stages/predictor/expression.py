"""The model as one SQL expression, which gives the same double in every engine.

It adds from left to right, beginning with the intercept, as `LinearModel.predict` does, so that
engines which keep IEEE 754 agree to the last bit.
"""

from collections.abc import Sequence

from stages.columns import sql
from stages.predictor.document import Predictor


def expression(
    predictor: Predictor, operands: Sequence[str], separator: str = " ", cast: str = ""
) -> str:
    """Return ``intercept + Σ multiplier * (operand / 2^exponent)``, the operands being SQL.

    A quotient by a power of two is exact, unless it is below 2.2e-308. So each term is rounded
    once, as the product of feature and weight is. `cast` follows the intercept and each operand.
    """
    intercept = predictor.intercept
    terms = [_scaled(f"{intercept.number}e0{cast}", intercept.exponent)]
    weights = zip(predictor.multipliers, predictor.features, strict=True)
    for (multiplier, feature), operand in zip(weights, operands, strict=True):
        # subtracting is adding the negative, and leaves no two signs in a row
        sign = "-" if multiplier < 0 else "+"
        terms.append(f"{sign} {abs(multiplier)}e0 * ({_scaled(operand + cast, feature.exponent)})")
    return separator.join(terms)


def _scaled(operand: str, exponent: int) -> str:
    """Return operand · 2^-exponent."""
    power = f"{'/' if exponent > 0 else '*'} {sql.double(2.0 ** abs(exponent))}"
    return f"{operand} {power}" if exponent else operand


def select(predictor: Predictor, table: str, name: str = "duckdb") -> str:
    """Return the statement that predicts every row of `table`, which is taken as it is written.

    Columns must have their types, and NULL in gaps. They are qualified: an unknown name in double
    quotes alone is a string to SQLite and Spark, which would make it a zero without a word.
    """
    dialect = sql.dialect(name)
    operands = [each.sql(dialect.column, dialect) for each in predictor.schema.inputs]
    terms = expression(predictor, operands, "\n    ", dialect.cast)
    case = {"postgres": "lower", "snowflake": "upper"}.get(name)  # of names without quotes
    note = f"/* a table created without quotes has {case}-case names: write them so here */\n"
    return f"{note if case else ''}SELECT t.*,\n    {terms} AS prediction\nFROM {table} AS t"
