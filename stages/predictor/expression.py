"""The model as one SQL expression, which gives the same double in every engine.

It adds from left to right, beginning with the intercept, as `LinearModel.predict` does, so that
engines which keep IEEE 754 agree to the last bit.
"""

from collections.abc import Sequence

from stages.predictor.document import Predictor
from stages.project.cli import InputError
from stages.project.text import shown
from stages.tables.sql import double, identifier

# The SQL dialects, each with the cast that makes a number a double. Most need none, as 115e0 is
# a double, and a decimal by a double is one, too. Postgres and Snowflake read 115e0 as a decimal.
DIALECTS = dict.fromkeys(
    ("bigquery", "clickhouse", "databricks", "duckdb", "mysql", "spark", "sqlite", "trino", "tsql"),
    "",
) | dict.fromkeys(("postgres", "redshift", "snowflake"), "::float8")


def expression(
    predictor: Predictor, operands: Sequence[str], separator: str = " ", cast: str = ""
) -> str:
    """Return ``intercept + Σ multiplier * (operand / 2^exponent)``, the operands being SQL.

    To divide by a power of two is exact, unless the quotient is below 2.2e-308, so that each term
    is rounded once, as the product of feature and weight is. And literals are short whole numbers.
    `cast` follows the intercept and each operand.
    """
    terms = [scaled(f"{predictor.intercept.number}e0{cast}", predictor.intercept.exponent)]
    for multiplier, feature, operand in zip(
        predictor.multipliers, predictor.features, operands, strict=True
    ):
        # subtracting is adding the negative, and leaves no two signs in a row
        sign = "-" if multiplier < 0 else "+"
        terms.append(f"{sign} {abs(multiplier)}e0 * ({scaled(operand + cast, feature.exponent)})")
    return separator.join(terms)


def scaled(operand: str, exponent: int) -> str:
    """Return operand · 2^-exponent."""
    if exponent == 0:
        return operand
    return f"{operand} {'/' if exponent > 0 else '*'} {double(2.0 ** abs(exponent))}"


def select(predictor: Predictor, table: str, dialect: str | None = None) -> str:
    """Return the statement that predicts every row of `table`, which is taken as it is written.

    It is standard SQL, or in one of the DIALECTS.

    The columns are qualified: an unknown name in double quotes alone is a string to SQLite, Spark
    and MySQL, which would make it a zero without a word.
    """
    names = [feature.name for feature in predictor.features]
    quoted = map(identifier, names) if dialect is None else identifiers(names, dialect)
    cast = DIALECTS.get(dialect or "", "")
    terms = expression(predictor, [f"t.{name}" for name in quoted], "\n    ", cast)
    return f"SELECT t.*,\n    {terms} AS prediction\nFROM {table} AS t"


def identifiers(names: Sequence[str], dialect: str) -> list[str]:
    """Quote names as `dialect` does, by sqlglot, which the image does without."""
    if dialect not in DIALECTS:
        raise InputError(
            f"--dialect must be one of {', '.join(sorted(DIALECTS))}, got {shown(dialect)}"
        )
    try:
        from sqlglot import exp
    except ImportError as error:
        raise InputError("--dialect needs sqlglot: `pip install sqlglot` installs it") from error
    return [exp.to_identifier(name, quoted=True).sql(dialect=dialect) for name in names]
