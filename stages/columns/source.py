"""A file as a table: its format, which its content tells, its columns, and SQL to read it."""

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from stages.columns import lines
from stages.columns.engine import CONVERT, DuckDB, cell
from stages.columns.inputs import MUST_BE
from stages.columns.readings import IN_YEARS, PLAIN, READINGS
from stages.columns.sql import DUCKDB, Dialect, double, literal, literals
from stages.project.cli import InputError
from stages.project.text import join, label

REJECTS = 100_000  # errors of malformed lines that are counted; DuckDB stores them in memory
DELIMITERS = ",;\t|"
EXPORT = """`python -c "import duckdb; duckdb.read_json('FILE').write_csv('NEW')"` makes it CSV"""
# what a column holds by its type in DuckDB or Spark; text can hold anything
TYPES = {
    "number": re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\([\d,]+\)"),
    "boolean": re.compile("BOOLEAN"),
    "date": re.compile(r"DATE|TIMESTAMP[\w ]*"),
    "text": re.compile(r"(VAR)?CHAR(\(\d+\))?|STRING|UUID|ENUM\(.*\)"),
}
# how a column of its kind is read; NULL is what cannot be
FROM_TYPE = {
    "number": "CAST({0} AS DOUBLE)",
    "boolean": "{0}",
    "date": f"CASE WHEN TRY_CAST({{0}} AS {{moment}}) {IN_YEARS}"
    " THEN TRY_CAST({0} AS {moment}) END",
}
Kinds = Mapping[str, str | None]  # of columns that a table must have; None is any


@dataclass(frozen=True)
class Source:
    """A table that SQL can read."""

    name: str  # what messages call it
    kind: str  # 'csv', 'parquet' or 'sql'
    rows: str  # what stands behind FROM
    columns: Sequence[str]  # the names in the header
    types: Sequence[str]  # the SQL types to read them as
    dialect: Dialect = DUCKDB
    unnamed: Collection[str] = ()  # the columns whose names we made, as the header has none
    # of CSV alone: how texts are read, by column, where that is not plain; and what marks a gap
    readings: Mapping[str, str | None] = field(default_factory=dict)
    na: Sequence[str] = ()
    is_simple: bool = False  # what DuckDB takes for a number is one

    @property
    def relation(self) -> str:
        """The rows in SQL, with columns called c0, c1, and so on."""
        return f"{self.rows} AS t({', '.join(f'c{j}' for j in range(len(self.columns)))})"

    def read_as(self, readings: Mapping[str, str | None], na: Sequence[str]) -> "Source":
        """Return the table with its texts read in these ways, if it is CSV."""
        return replace(self, readings=readings, na=na) if self.kind == "csv" else self

    def column(self, name: str) -> str:
        """Return what SQL calls a column."""
        return f"c{self.columns.index(name)}"

    def type_of(self, name: str) -> str:
        return self.types[self.columns.index(name)]

    def kind_of(self, name: str) -> str | None:
        """Return what a column holds by its type."""
        sort = self.type_of(name)
        return next((kind for kind, types in TYPES.items() if types.fullmatch(sort)), None)

    def shown(self, name: str) -> str:
        """Return a column in SQL for messages; Python has other forms for decimals and moments."""
        as_type = {"date": "STRING", "number": "DOUBLE"}.get(self.kind_of(name) or "")
        return f"CAST({self.column(name)} AS {as_type})" if as_type else self.column(name)

    def text(self, name: str) -> str:
        """Return a column in SQL as it is written, NULL if it is empty."""
        return f"nullif(CAST({self.column(name)} AS STRING), '')"

    def cast(self, name: str, kind: str) -> str:
        """Return a column in SQL as a number, boolean, moment or text; NULL if it is none."""
        c, holds = self.column(name), self.kind_of(name)
        if kind == "text":
            x = self.text(name)
            return f"CASE WHEN {x} NOT IN {literals(*self.na)} THEN {x} END" if self.na else x
        if holds == kind:
            return FROM_TYPE[kind].format(c, moment=self.dialect.moment)
        if holds != "text":
            return "CAST(NULL AS DOUBLE)"
        reading = self.readings.get(name) or PLAIN[kind]
        is_simple = self.is_simple and reading == PLAIN["number"]
        return f"TRY_CAST({c} AS DOUBLE)" if is_simple else READINGS[reading].sql(c)

    def value(self, name: str, kind: str) -> str:
        """Return what `cast` does, and NULL also for a number that marks a gap, as NaN does."""
        x = self.cast(name, kind)
        if kind != "number":
            return x
        gaps = [f"isnan({x})", *(f"{x} = {double(number)}" for number in numbers_of(self.na))]
        return f"CASE WHEN NOT ({' OR '.join(gaps)}) THEN {x} END"

    def present(self, name: str) -> str:
        """Return the test that a value is there."""
        is_text = self.kind_of(name) == "text"
        return f"{self.cast(name, 'text') if is_text else self.column(name)} IS NOT NULL"

    def unreadable(self, name: str, kind: str) -> str:
        """Return the test that a value is there, but not of its kind."""
        return f"CASE WHEN {self.cast(name, kind)} IS NULL THEN {self.present(name)} ELSE FALSE END"


def numbers_of(texts: Iterable[str]) -> list[float]:
    """Return the finite numbers among texts."""
    numbers = []
    for text in texts:
        with suppress(ValueError):
            numbers.append(float(text))
    return [number for number in numbers if isfinite(number)]


def detect(
    path: Path, name: str, kinds: Kinds, on: DuckDB, skip: bool = False, folder: Path | None = None
) -> Source:
    """Tell which table a file holds; `name` is what messages call it.

    With `skip`, DuckDB stores malformed lines of CSV in reject_errors. `folder` is for a copy.
    """
    head, is_packed, is_long, has_quotes, is_mixed, has_odd_digits = lines.look(path, name)
    if not head.strip():
        raise InputError(f"{name} is empty")
    if head.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        what = "export the sheet as CSV in UTF-8, or unpack the file"
        raise InputError(f"{name} is a spreadsheet or a zip: {what}")
    if head.startswith(b"PAR1"):
        rows = f"read_parquet({_quote(path)})"
        found = Source(name, "parquet", rows, *on.describe(f"FROM {rows}"))
    else:
        encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        # without byte order marks: a file that was saved or joined carelessly has several
        text = head.decode(encoding, errors="replace").replace("\ufeff", "")
        delimiter, above, names = _read_header(text, name, kinds)
        columns = [each or f"column {place}" for place, each in enumerate(names, 1)]
        alone = is_long and (skip or has_quotes)  # read by one thread
        records = lines.read(path, name, encoding, delimiter)
        if is_mixed or encoding == "utf-16":
            path, is_packed, alone = lines.copy(records, delimiter, folder), False, True
        elif alone and has_quotes:
            deque(records, 0)
        fields = ", ".join(f"c{j}: 'VARCHAR'" for j in range(len(columns)))
        rows = (
            f"read_csv({_quote(path)}, columns = {{{fields}}}, auto_detect = false, header = true,"
            f" skip = {above}, quote = '\"', escape = '\"', delim = {literal(delimiter)},"
            f" compression = '{'gzip' if is_packed else 'none'}', parallel = {not alone}"
            + (f", store_rejects = true, rejects_limit = {REJECTS})" if skip else ")")
        )
        unnamed = [column for column in columns if column not in names]
        is_simple, types = not has_odd_digits and encoding != "utf-16", ["VARCHAR"] * len(columns)
        found = Source(name, "csv", rows, columns, types, unnamed=unnamed, is_simple=is_simple)
    check(found, kinds)
    return found


def check(source: Source, kinds: Kinds) -> None:
    """Refuse a table that lacks a column, has two of one name, or whose type cannot be its kind."""
    name, columns = source.name, source.columns
    if missing := [column for column in kinds if column not in columns]:
        what = f"column{'s' if len(missing) > 1 else ''} {join(missing)}"
        advice = f"; is it JSON? {EXPORT}" if columns[0][:1] in ("{", "[") else ""
        raise InputError(f"{name}: {what} missing; found {join(columns)}{advice}")
    if repeated := [column for column, count in Counter(columns).items() if count > 1]:
        places = (str(place) for place, each in enumerate(columns, 1) if each == repeated[0])
        what = f"{label(repeated[0])}: columns {' and '.join(places)}"
        raise InputError(f"{name}: more than one column is called {what}")
    for column, wanted in kinds.items():
        found = source.kind_of(column)
        if wanted and found not in (wanted, "text") and (wanted != "text" or not found):
            rule = f"must be {MUST_BE[wanted]}, its type is {source.type_of(column)}"
            raise InputError(f"{name}: {label(column)} {rule}")


def first_bad(
    source: Source, rows: str, bad: str, tests: Mapping[str, str], run: Callable[[str], list[Any]]
) -> tuple[str, str | None]:
    """Say which of `rows` is the first that meets the test `bad`, and with which value.

    Return also the column or input whose test of `tests` it meets. `run` executes a query.
    """
    outputs = [source.shown(name) if name in source.columns else "NULL" for name in tests]
    outputs += tests.values()
    names = ", ".join(f"{value} AS v{index}" for index, value in enumerate(outputs))
    query = f"SELECT row_number() OVER () AS n, {bad} AS bad, {names} FROM {rows}"
    [(n, _, *found)] = run(f"SELECT * FROM ({query}) AS t WHERE bad LIMIT 1")
    where = f"row {n:,}" + (" below the header" if source.kind == "csv" else "")
    for name, value, is_met in zip(tests, found, found[len(tests) :], strict=False):
        if is_met:
            return f"{where}: {label(name)} is {cell(value)}", name
    return where, None


def name_key(keys: Sequence[str], values: Sequence[object]) -> str:
    """Return the key of a row for people."""
    pairs = zip(map(label, keys), map(cell, values), strict=True)
    return ", ".join(f"{key} {value}" for key, value in pairs)


def _quote(path: Path) -> str:
    """Return a path in SQL: DuckDB takes it for a pattern, but not what stands in brackets."""
    return literal(re.sub(r"[*?[]", r"[\g<0>]", str(path.absolute())))


def _read_header(head: str, name: str, wanted: Collection[str]) -> tuple[str, int, list[str]]:
    """Return the delimiter of CSV, how many blank lines are above the header, and its names.

    The delimiter is the one that gives the most wanted columns.
    """
    headers = []
    for delimiter in DELIMITERS:
        records = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, strict=True)
        with suppress(csv.Error):  # of a line that cannot be read, and ends the search
            for above, record in enumerate(records):
                names = [*map(str.strip, record)]
                if any(names) and not names[0].startswith("sep="):  # which Excel writes above
                    headers.append((delimiter, above, names))
                    break
    if "\0" in head or not headers:
        raise InputError(f"{name} is not a table: neither CSV in UTF-8 or UTF-16 nor Parquet")
    best = max(headers, key=lambda header: (len({*wanted} & {*header[2]}), len(header[2])))
    if "\N{REPLACEMENT CHARACTER}" in "".join(best[2]):
        raise InputError(f"{name}: its header is not UTF-8; {CONVERT}")
    return best
