"""Inputs in SQL, held against a few lines of Python."""

import math
import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
import sqlglot
from msgspec.structs import replace
from sqlglot import exp

from stages.columns.inputs import EPOCH, Input
from stages.columns.sql import DIALECTS, Dialect

LEVELS = (
    "a",
    "A",
    "it's",
    '"q"',
    "back\\slash",
    "\\'",
    "\\",
    "??/",
    "Škoda",
    "东风",
    "a b",
    "%s{}",
)
TEXTS = (*LEVELS, "", None, "unseen", "Ä", "ä", " a", "a ")
EAST, WEST = timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-10))
MOMENTS = (
    datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(1901, 2, 3, 4, 5, 6, 789_012, EAST),
    datetime(2024, 2, 29, 23, 30, 0, 1_000, WEST),
    datetime(2106, 3, 1, 0, 0, tzinfo=EAST),
    EPOCH,
    None,
)
# what a column may be, and values in it
COLUMNS: dict[str, tuple[str, Sequence[Any]]] = {
    "DOUBLE PRECISION": ("number", (0.1, -2.5e-7, 1e15, 0.0, None)),
    "REAL": ("number", (0.5, -(2.0**-30), 16777215.0, None)),
    "INTEGER": ("number", (7, -3, 0, None)),
    "DECIMAL(12, 3)": ("number", (0.1, -12.345, None)),
    "BOOLEAN": ("boolean", (True, False, None)),
    "DATE": ("date", (date(1969, 12, 31), date(1582, 10, 15), date(2024, 2, 29), None)),
    "TIMESTAMP": ("date", [each and each.replace(tzinfo=None) for each in MOMENTS]),
    "TIMESTAMP WITH TIME ZONE": ("date", MOMENTS),
    "VARCHAR(20)": ("text", TEXTS),
}
FILLS = {"number": 0.123457, "boolean": 0.3, "date": -1234.57, "text": 0.0}
FILLED = (False, True)


def inputs_of(kind: str, filled: bool) -> list[Input]:
    fill = FILLS[kind] if filled else None
    levels = LEVELS if kind == "text" else (None,)
    return [*(Input("x", kind, level, fill=fill) for level in levels), Input("x", kind, None, True)]


def in_python(each: Input, value: Any) -> float:
    """Return the input as its docstring has it, NaN where there is none."""
    if value is None or value == "":
        fill = math.nan if each.fill is None else each.fill
        return 1.0 if each.missing else fill
    if each.missing:
        return 0.0
    if each.level is not None:
        return 1.0 if value == each.level else 0.0
    if each.kind == "date":
        whole = datetime(value.year, value.month, value.day, tzinfo=UTC)
        moment = value if isinstance(value, datetime) else whole
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
        return (since.days * 86_400_000_000 + since.seconds * 10**6 + since.microseconds) / 864e8
    return float(value)


def bits(numbers: Sequence[float | None]) -> list[str]:
    return [math.nan.hex() if x is None else float(x).hex() for x in numbers]


def expected(each: Input, values: Sequence[Any]) -> list[str]:
    return bits([in_python(each, value) for value in values])


def written(value: Any) -> Any:
    """Return a value as an engine takes it: a date as text."""
    return str(value) if isinstance(value, date) else value


def asked(each: Input, dialect: str) -> str:
    return f"SELECT {each.sql(lambda _: 't.x', DIALECTS[dialect])} FROM t ORDER BY n"


@pytest.mark.parametrize("filled", FILLED)
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dialect", ["duckdb", "sqlite"])
def test_duckdb_and_sqlite_have_the_number_of_python(
    dialect: str, column: str, filled: bool
) -> None:
    kind, values = COLUMNS[column]
    connection: Any = duckdb.connect() if dialect == "duckdb" else sqlite3.connect(":memory:")
    if dialect == "duckdb":
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
    elif kind == "date":  # it knows milliseconds
        values = [
            it.replace(microsecond=it.microsecond // 1000 * 1000)
            if isinstance(it, datetime)
            else it
            for it in values
        ]
    connection.execute(f"CREATE TABLE t (n INTEGER, x {column})")
    rows = [(n, written(value)) for n, value in enumerate(values)]
    connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    for each in inputs_of(kind, filled):
        found = connection.execute(asked(each, dialect)).fetchall()
        assert bits([x for (x,) in found]) == expected(each, values), each


# the text

FACTORS = (Input("x"), Input("s", "text", "a"), Input("z"))
PRODUCT = Input("x * s = a / z", "product", factors=FACTORS, operators="**/")


@pytest.mark.parametrize("filled", FILLED)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda it: it.name)
def test_every_input_parses_in_every_dialect(dialect: Dialect, filled: bool) -> None:
    for kind in FILLS:
        for each in inputs_of(kind, filled):
            parsed = sqlglot.parse_one(
                f"SELECT {each.sql(lambda _: 't.x', dialect)}", read=dialect.name
            )
            assert {column.sql() for column in parsed.find_all(exp.Column)} == {"t.x"}
            texts = [node.this for node in parsed.find_all(exp.Literal, exp.National)]
            assert each.level is None or each.level in texts


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda it: it.name)
def test_a_product_parses_in_every_dialect_and_guards_its_division(dialect: Dialect) -> None:
    for fill in (None, 0.123457):
        sql = replace(PRODUCT, fill=fill).sql(lambda name: f"t.{name}", dialect)
        parsed = sqlglot.parse_one(f"SELECT {sql}", read=dialect.name)
        assert {column.sql() for column in parsed.find_all(exp.Column)} == {"t.x", "t.s", "t.z"}
        [division] = parsed.find_all(exp.Div)
        assert division.find_ancestor(exp.If)


def test_a_ratio_in_sql_is_this_text() -> None:
    ratio = Input("x / z", "product", factors=(Input("x"), Input("z")), operators="*/")
    assert ratio.sql("t.{}".format) == (
        "CASE WHEN (t.x = 0 OR abs(1e0 * t.x) BETWEEN 1e-25 AND 1e25)"
        " AND abs(1e0 * t.z) BETWEEN 1e-25 AND 1e25 THEN 1e0 * t.x / t.z END"
    )


# what is none


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "moment"},
        {"kind": "text"},
        {"kind": "text", "level": ""},
        {"kind": "text", "level": "a", "missing": True},
        {"kind": "number", "level": "a"},
        {"fill": math.nan},
        {"fill": math.inf},
        {"kind": "product"},
    ],
)
def test_nonsense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no input of"):
        Input("x", **fields)


@pytest.mark.parametrize(
    "fields",
    [{"column": "x / s = a / z"}, {"operators": "*"}, {"operators": "*+/"}, {"level": "a"}],
)
def test_a_product_is_made_of_its_factors(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no input of|argument|must be"):
        replace(PRODUCT, **fields)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "1970-01-01"),
        (-0.5, "1969-12-31 12:00:00"),
        (19782.25, "2024-02-29 06:00:00"),
        (1e300, "1e+300 days"),
    ],
)
def test_a_date_is_shown_as_one(value: float, text: str) -> None:
    assert Input("x", "date").show(value) == text
    assert Input("x", "date", missing=True).show(1.0) == "1"


def test_a_percentage_is_shown_as_it_was_written() -> None:
    assert Input("x", "number", reading="1,234.5 %").show(1.8) == "1.8 %"
    assert Input("x", "number", reading="1,234.5").show(1.8) == "1.8"


@pytest.mark.parametrize(("kind", "reading"), [("number", "31.12.2020"), ("date", "no such")])
def test_a_reading_is_one_of_its_kind(kind: str, reading: str) -> None:
    with pytest.raises(ValueError, match=f"x is no input of a {kind}"):
        Input("x", kind, reading=reading)
