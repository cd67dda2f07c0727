"""A file as a table: its format, its columns, and SQL for DuckDB to read it.

The format is detected from the content, not from the name.
"""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.columns import engine
from stages.columns.inputs import MUST_BE
from stages.columns.sql import DUCKDB, Dialect, literal
from stages.project.cli import InputError
from stages.project.text import listed, named

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HEAD = 1 << 20  # bytes in which the header must end
REJECTS = 100_000  # malformed lines that are counted; DuckDB stores each of them in memory
LONGEST_LINE = 2_000_000  # bytes, of CSV
DELIMITERS = ",;\t|"
BOM = b"\xef\xbb\xbf"
JSON = re.compile(rb'\s*(\[\s*)?\{\s*["}]')  # the header of CSV can be {a} or [a]
# what a column holds by its type in DuckDB or Spark; text can hold anything
TYPES = {
    "number": re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\([\d,]+\)"),
    "boolean": re.compile("BOOLEAN"),
    "date": re.compile(r"DATE|TIMESTAMP[\w ]*"),
    "text": re.compile(r"(VAR)?CHAR(\(\d+\))?|STRING|UUID|ENUM\(.*\)"),
}
FROM_TYPE = {
    "number": "CAST({0} AS DOUBLE)",
    "boolean": "{0}",
    # others can be infinite, or cannot be written to CSV
    "date": "CASE WHEN year(TRY_CAST({0} AS {moment})) BETWEEN 1 AND 9999"
    " THEN TRY_CAST({0} AS {moment}) END",
}
# DuckDB reads more as numbers, +-1 and 1_000, and more forms of dates than others do
FROM_TEXT = {
    "number": "CASE WHEN NOT (contains({0}, '+-') OR contains({0}, '_'))"
    " THEN TRY_CAST({0} AS DOUBLE) END",
    "boolean": "CASE lower({0}) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END",
    "date": "CASE WHEN {0}[5] = '-' THEN TRY_CAST({0} AS TIMESTAMPTZ) END",
}
FRACTION = re.compile(r"[+-]?\d+([.,])\d+")


@dataclass(frozen=True)
class Source:
    """A table that SQL can read."""

    name: str  # what messages call it
    kind: str  # 'csv', 'parquet' or 'sql'
    columns: Sequence[str]  # the names in the header
    types: Sequence[str]  # the SQL types to read them as
    path: str = ""  # where DuckDB finds it; of 'sql' a SELECT in brackets
    compression: str = "none"  # of CSV
    delimiter: str = ","  # between the columns of CSV
    decimal: str = "."  # in the fractions of CSV
    dialect: Dialect = DUCKDB

    def column(self, name: str) -> str:
        """Return what SQL calls a column."""
        return f"c{self.columns.index(name)}"

    def type_of(self, name: str) -> str:
        return self.types[self.columns.index(name)]

    def kind_of(self, name: str) -> str | None:
        """Return what a column holds by its type."""
        sort = self.type_of(name)
        return next((kind for kind, types in TYPES.items() if types.fullmatch(sort)), None)

    def cast(self, name: str, kind: str) -> str:
        """Return a column in SQL as a number, boolean, moment or text; NULL if it is none."""
        c, holds = self.column(name), self.kind_of(name)
        text = f"CAST({c} AS STRING)"
        if kind == "text":
            return f"nullif({text}, '')"
        if holds == kind:
            return FROM_TYPE[kind].format(c, moment=self.dialect.moment)
        if holds != "text":
            return "CAST(NULL AS DOUBLE)"
        if kind == "number" and self.decimal == ",":
            x = FROM_TEXT[kind].format(f"replace({text}, ',', '.')")
            return f"CASE WHEN NOT contains({text}, '.') THEN {x} END"
        return FROM_TEXT[kind].format(text)

    def value(self, name: str, kind: str) -> str:
        """Return what `cast` does, and NULL also for the number NaN, which is a gap."""
        x = self.cast(name, kind)
        return f"nullif({x}, CAST('nan' AS DOUBLE))" if kind == "number" else x

    def present(self, name: str) -> str:
        """Return the test that a value is there."""
        c = self.column(name)
        return f"coalesce({c}, '') <> ''" if self.type_of(name) == "VARCHAR" else f"{c} IS NOT NULL"

    def unreadable(self, name: str, kind: str) -> str:
        """Return the test that a value is there, but not of its kind."""
        return f"({self.present(name)} AND {self.cast(name, kind)} IS NULL)"

    def relation(self, skip: bool = False) -> str:
        """Return SQL for the table, with its columns called c0, c1, and so on.

        With `skip`, DuckDB stores malformed lines of CSV in reject_errors.
        """
        aliases = [f"c{index}" for index in range(len(self.columns))]
        rows = self.path
        if self.kind == "parquet":
            rows = f"read_parquet({literal(self.path)})"
        if self.kind == "csv":
            fields = ", ".join(f"{alias}: 'VARCHAR'" for alias in aliases)
            rows = (
                f"read_csv({literal(self.path)}, columns = {{{fields}}}, auto_detect = false,"
                f" header = true, quote = '\"', escape = '\"', delim = {literal(self.delimiter)},"
                f" compression = '{self.compression}'"
                + (f", store_rejects = true, rejects_limit = {REJECTS})" if skip else ")")
            )
        return f"{rows} AS t({', '.join(aliases)})"


def detect(
    path: Path, name: str, kinds: Mapping[str, str | None], connection: "DuckDBPyConnection"
) -> Source:
    """Tell which table a file holds; `name` is what messages call it.

    An `InputError` says that it is none, that two of its columns have one name, or that one of
    `kinds` is not there, or cannot hold that.
    """
    head, tail, compression = _read_ends(path, name)
    # DuckDB takes a name for a pattern, but not what stands in brackets
    pattern = re.sub(r"[*?[]", r"[\g<0>]", str(path.absolute()))
    if not head:
        raise InputError(f"{name} is empty")
    if JSON.match(head):
        raise InputError(f"{name} is JSON, must be CSV or Parquet; the server takes JSON")
    if head.startswith(b"PAR1"):
        if compression != "none":
            raise InputError(f"{name} is Parquet within gzip; unpack it first")
        columns = _read_schema(pattern, connection)
        names, types = [column for column, _ in columns], [sort for _, sort in columns]
        source = Source(name, "parquet", names, types, pattern)
    else:
        delimiter, names = _read_header(head, name, kinds)
        if len(tail) >= LONGEST_LINE and not {*b"\r\n"} & {*tail}:  # DuckDB can overlook it
            raise InputError(f"{name}: its last line is longer than {LONGEST_LINE:,} bytes")
        how = (compression, delimiter, _detect_decimal(head, delimiter))
        source = Source(name, "csv", names, ["VARCHAR"] * len(names), pattern, *how)
    check(names, name, kinds)
    for column, wanted in kinds.items():
        found = source.kind_of(column)
        if wanted and found not in (wanted, "text") and (wanted != "text" or not found):
            rule = f"must be {MUST_BE[wanted]}, its type is {source.type_of(column)}"
            raise InputError(f"{name}: {named(column)} {rule}")
    return source


def check(columns: Sequence[str], name: str, features: Collection[str]) -> None:
    """Refuse a header that does not name every feature, or any column twice."""
    if missing := [feature for feature in features if feature not in columns]:
        what = f"column{'s' if len(missing) > 1 else ''} {listed(missing)}"
        raise InputError(f"{name}: {what} missing; found {listed(columns)}")
    if repeated := sorted(name for name, count in Counter(columns).items() if count > 1):
        raise InputError(f"{name}: more than one column is called {listed(repeated)}")


def first_bad(
    source: Source,
    rows: str,
    bad: str,
    tests: Mapping[str, str],
    run: Callable[[str], list[Any]],
    keys: Sequence[str] = (),
) -> tuple[str, str | None]:
    """Say which of `rows` is the first that meets the test `bad`, and with which value.

    Return also the column whose test of `tests` it meets. `run` executes a query. Rows without an
    order are named by `keys`.
    """
    by = [source.value(key, "text") for key in keys] or ["row_number() OVER ()"]
    values = [*by, *map(source.column, tests), *tests.values()]
    names = [f"v{index}" for index in range(len(values))]
    outputs = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
    order = f" ORDER BY {', '.join(names[: len(keys)])}" if keys else ""
    query = f"SELECT {outputs}, {bad} AS bad FROM {rows}"
    [(*found, _)] = run(f"SELECT * FROM ({query}) AS t WHERE bad{order} LIMIT 1")
    place, values, met = found[: len(by)], found[len(by) : -len(tests)], found[-len(tests) :]
    if keys:
        pairs = zip(map(named, keys), map(engine.cell, place), strict=True)
        where = "the row with " + ", ".join(f"{key} {value}" for key, value in pairs)
    else:
        where = f"row {place[0]:,}" + (" below the header" if source.kind == "csv" else "")
    for name, value, is_met in zip(tests, values, met, strict=True):
        if is_met:
            return f"{where}: {named(name)} is {engine.cell(value)}", name
    return where, None


def _read_ends(path: Path, name: str) -> tuple[bytes, bytes, str]:
    """Return both ends of a file, unpacked, and its compression.

    All of a gzipped file is read, as DuckDB looks at no checksums.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
        if not head.startswith(b"\x1f\x8b"):
            file.seek(max(0, path.stat().st_size - LONGEST_LINE))
            return head, file.read(), "none"
    try:
        with gzip.open(path) as unpacked:
            head = tail = unpacked.read(HEAD)
            while chunk := unpacked.read(HEAD):
                tail = (tail + chunk)[-LONGEST_LINE:]
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is damaged: {error}") from error
    return head, tail, "gzip"


def _read_records(head: bytes, delimiter: str) -> Iterator[list[str]]:
    """Yield the lines that CSV begins with, up to one that cannot be read."""
    lines = io.StringIO(head.removeprefix(BOM).decode(errors="replace"), newline="")
    with suppress(csv.Error):
        yield from csv.reader(lines, delimiter=delimiter, strict=True)


def _detect_decimal(head: bytes, delimiter: str) -> str:
    """Return how CSV writes fractions: as most of those that it begins with."""
    if delimiter == ",":
        return "."
    found = Counter[str]()
    for row in _read_records(head, delimiter):
        found.update(match[1] for cell in row if (match := FRACTION.fullmatch(cell)))
    return max(".,", key=lambda point: found[point])


def _read_header(head: bytes, name: str, kinds: Collection[str]) -> tuple[str, list[str]]:
    """Return the delimiter of CSV, the one that gives the most features, and the columns."""
    firsts = ((delimiter, next(_read_records(head, delimiter), None)) for delimiter in DELIMITERS)
    headers = {delimiter: header for delimiter, header in firsts if header is not None}
    if b"\0" in head or not headers:
        raise InputError(f"{name} is not a table: neither CSV in UTF-8 nor Parquet")
    if len(head) == HEAD and not {*b"\r\n"} & {*head}:
        raise InputError(f"{name}: its header is longer than {HEAD >> 20} MB")
    wanted = {*kinds}
    delimiter = max(headers, key=lambda d: (len(wanted & {*headers[d]}), len(headers[d])))
    columns = headers[delimiter]
    if "\N{REPLACEMENT CHARACTER}" in "".join(columns):
        raise InputError(f"{name}: its header is not UTF-8")
    if head.startswith(BOM) and {"\n", "\r"} & {*"".join(columns[:1])}:  # DuckDB reads it wrongly
        raise InputError(f"{name}: its first column has a line break in its name behind a BOM")
    return delimiter, columns


def _read_schema(pattern: str, connection: "DuckDBPyConnection") -> list[tuple[str, str]]:
    """Return names and types as they stand in Parquet: DuckDB renames columns of one name."""
    _, *tree = engine.execute(
        connection,
        "SELECT name, duckdb_type, coalesce(num_children, 0)"
        f" FROM parquet_schema({literal(pattern)})",
    )  # from the root down
    columns, below = [], 0
    for name, sort, children in tree:
        if not below:
            columns.append((name, sort))
        below = max(0, below - 1) + children
    return columns
