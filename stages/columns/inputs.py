"""How columns of a table become inputs of a model: as SQL and in Python.

A number is an input as it is, and a boolean is 0 or 1. A date or time is its days since 1970 in
UTC; where it has no time zone, it is taken for UTC. A text has an input for each of its levels but
the most frequent, the baseline: 1 in rows of that level, 0 in all others, also in those of a level
that training has not seen. The empty text counts as a gap.

A product or ratio is made of these from left to right, each step rounded once. It is a gap where a
divisor is 0, or a factor neither 0 nor of a size within SIZES. So it is 0 or from 1e-100 to 1e100.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite, nan
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from stages.columns.readings import MOMENT, READINGS
from stages.columns.sql import DUCKDB, Dialect, double
from stages.columns.terms import parse_term
from stages.project.text import join

KINDS = ("number", "boolean", "date", "text")
SIZES = "1e-25", "1e25"  # of a factor, as SQL and C write them
LEAST, LARGEST = map(float, SIZES)
MUST_BE = {
    "number": "a finite number",
    "boolean": "true or false",
    "date": "a date such as 2020-12-31, or a time such as 2020-12-31 23:59:59+01",
    "text": "a text",
    "product": f"of numbers that are 0 or {SIZES[0]} to {SIZES[1]} in size, and of no divisor 0",
}
MOST = 1000  # inputs of a model, or columns that they come from; SQL for more takes minutes
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DIGIT = re.compile(r"(?<![\d.])(?=\d(?!\d))")  # where one lacks the zero before it


class Input(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A number that the model takes from one column of a row, or makes of several."""

    column: str  # of a product or ratio, its name
    # one of KINDS, what the column holds, or product; unlike other defaults, it is written
    kind: str = field(default_factory=lambda: "number")
    level: str | None = None  # of a text: the input is 1 where the column has it
    missing: bool = False  # the input is 1 where the column is empty
    fill: float | None = None  # the input where it is empty; without one, there is no prediction
    reading: str | None = None  # one of READINGS, how CSV writes it, if not plainly
    factors: "tuple[Input, ...]" = ()  # of a product or ratio, each of one column
    operators: str = ""  # * or / before each of them

    def __post_init__(self) -> None:
        is_level = self.kind == "text" and not self.missing
        wrong_level = self.level == "" or (self.level is not None) != is_level
        reading = READINGS.get(self.reading or "")
        is_read = reading.kind == self.kind if reading else self.reading is None
        steps = zip(self.operators, self.factors, strict=True)
        term = [(operator, it.column, it.level) for operator, it in steps]
        is_known = (self.column, term) == parse_term(self.column) if term else self.kind in KINDS
        if not is_known or wrong_level or not is_read or not isfinite(self.fill or 0):
            raise ValueError(f"{self.name} is no input of a {self.kind}")

    @property
    def name(self) -> str:
        """What people call it."""
        if self.missing:
            return f"{self.column} is missing"
        return self.column if self.level is None else f"{self.column} = {self.level}"

    def sql(self, column: Callable[[str], str], dialect: Dialect = DUCKDB) -> str:
        """Return the input in SQL, `column` being what SQL calls one."""
        x = self._multiply(column, dialect) if self.factors else column(self.column)
        present = f"{x} <> ''" if self.kind == "text" else f"{x} IS NOT NULL"
        if self.missing:
            return f"CASE WHEN {present} THEN 0 ELSE 1 END"
        if self.level is not None:
            rest = f"WHEN {present} THEN 0" if self.fill is None else "ELSE 0"
            return f"CASE WHEN {x} = {dialect.text(self.level)} THEN 1 {rest} END"
        if self.kind == "boolean":
            rest = "" if self.fill is None else f"WHEN {x} IS NULL THEN {double(self.fill)} "
            return f"CASE WHEN {x} THEN 1 WHEN NOT {x} THEN 0 {rest}END"
        value = dialect.days(x) if self.kind == "date" else x
        if self.fill is None:
            return value
        if self.kind == "date":  # one that the engine cannot read is no gap
            return f"CASE WHEN {x} IS NULL THEN {double(self.fill)} ELSE {value} END"
        # cast, for the common type of a REAL and a decimal is REAL to Postgres: it rounds the fill
        return f"coalesce({value}{dialect.cast}, {double(self.fill)})"

    def _multiply(self, column: Callable[[str], str], dialect: Dialect) -> str:
        """Return a product or ratio in SQL, which begins with 1 so that all of it is in doubles."""
        tests, value = [], f"1e0{dialect.cast}"
        for operator, each in zip(self.operators, self.factors, strict=True):
            x = each.sql(column, dialect)
            test = f"abs(1e0{dialect.cast} * {x}) BETWEEN {SIZES[0]} AND {SIZES[1]}"
            if operator == "*":
                test = f"({x} = 0 OR {test})" if each.kind == "number" else f"{x} IS NOT NULL"
            tests.append(test)
            value += f" {operator} {x}"
        return f"CASE WHEN {' AND '.join(dict.fromkeys(tests))} THEN {value} END"

    def number(self, row: Mapping[str, float | str | None]) -> float:
        """Return the input of a row, whose values `parse` has returned; NaN if there is none."""
        if self.factors:
            y = 1.0
            for operator, each in zip(self.operators, self.factors, strict=True):
                x = each.number(row)
                if not (LEAST <= abs(x) <= LARGEST or (x == 0 and operator == "*")):
                    return nan if self.fill is None else self.fill
                y = y * x if operator == "*" else y / x
            return y
        value = row[self.column]
        if self.missing:
            return float(value is None)
        if value is None:
            return nan if self.fill is None else self.fill
        return float(value if self.level is None else value == self.level)

    def show(self, value: float) -> str:
        """Return a value of the input for people."""
        if self.kind != "date" or self.missing:
            is_percent = "%" in (self.reading or "") and not self.missing
            return f"{value:g} %" if is_percent else f"{value:g}"
        try:
            moment = EPOCH + timedelta(days=value)
        except OverflowError:  # of the calendar
            return f"{value:g} days"
        return f"{moment:%Y-%m-%d}" if value == int(value) else f"{moment:%Y-%m-%d %H:%M:%S}"


class Schema(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a table is called, and what its columns are."""

    dataset: str
    target: str
    missing: str  # fail, drop or mean: what is done about gaps
    levels: Mapping[str, tuple[str, ...]]  # of texts in the training rows, the baseline first
    inputs: tuple[Input, ...]  # the features
    na: tuple[str, ...] = ()  # texts of CSV that mark a gap

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("features must not be empty")
        if len(self.inputs) > MOST:
            raise ValueError(f"features must be at most {MOST:,}, got {len(self.inputs):,}")
        columns = {(each.column, each.kind) for each in self.sources}
        if len({*self.columns}) < len(self.columns) or len(self.kinds) < len(columns):
            raise ValueError(f"features must have names of their own, got {join(self.features)}")

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(each.name for each in self.inputs)

    @property
    def columns(self) -> tuple[str, ...]:
        """The features, then the target."""
        return (*self.features, self.target)

    @property
    def sources(self) -> tuple[Input, ...]:
        """The inputs that come from one column each, and the factors of the others."""
        return tuple(source for each in self.inputs for source in each.factors or [each])

    @property
    def kinds(self) -> Mapping[str, str]:
        """The columns that the inputs come from, and what they hold."""
        return {each.column: each.kind for each in self.sources}

    @property
    def readings(self) -> Mapping[str, str | None]:
        """How CSV writes the columns that the inputs come from."""
        return {each.column: each.reading for each in self.sources}

    def of(self, features: Sequence[int]) -> "Schema":
        """Return the schema with some of its inputs only."""
        some = replace(self, inputs=tuple(self.inputs[j] for j in features))
        levels = {name: levels for name, levels in self.levels.items() if name in some.kinds}
        return replace(some, levels=levels)


def parse(value: Any, kind: str) -> float | str | None:
    """Return a value of JSON as a number or text, None for a gap; refuse one of another kind."""
    if value is None or (kind == "text" and value == ""):
        return None
    if kind == "number" and type(value) in (int, float) and isfinite(value):
        return float(value)
    if kind == "boolean" and type(value) is bool:
        return float(value)
    if kind == "text" and type(value) is str:
        return value
    if kind == "date" and type(value) is str and MOMENT.fullmatch(value):
        moment = datetime.fromisoformat(DIGIT.sub("0", value).replace(" UTC", "Z"))
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        return (moment - EPOCH) // timedelta(microseconds=1) / 864e8  # as Dialect.days
    raise ValueError(f"must be {MUST_BE[kind]}")
