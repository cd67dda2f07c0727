"""A file or a pipe as a table: its format, its columns, and SQL for DuckDB to read it.

Format is detected from content, not from the name. DuckDB gets the file as `/dev/fd/N`, so that no
name is taken for a pattern or an address.
"""

import csv
import gzip
import io
import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.columns import engine
from stages.columns.inputs import MUST_BE
from stages.columns.pipes import stored
from stages.columns.sql import literal
from stages.project.cli import InputError
from stages.project.text import listed, named

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HEAD = 1 << 20  # bytes in which the header must end
REJECTS = 100_000  # malformed lines that are counted; DuckDB stores each of them in memory
LONGEST_LINE = 2_000_000  # bytes, of CSV
DELIMITERS = ",;\t|"
BOM = b"\xef\xbb\xbf"
# the header of CSV can be {a} or [a]
JSON_OBJECT, JSON_ARRAY = re.compile(rb'\{\s*["}]'), re.compile(rb"\[\s*[{\]]")
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
    "date": "CASE WHEN year(TRY_CAST({0} AS TIMESTAMPTZ)) BETWEEN 1 AND 9999"
    " THEN TRY_CAST({0} AS TIMESTAMPTZ) END",
}
# DuckDB reads more as numbers, +-1 and 1_000, and more forms of dates than others do
FROM_TEXT = {
    "number": "CASE WHEN NOT (contains({0}, '+-') OR contains({0}, '_'))"
    " THEN TRY_CAST({0} AS DOUBLE) END",
    "boolean": "CASE lower({0}) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END",
    "date": "CASE WHEN {0}[5] = '-' THEN TRY_CAST({0} AS TIMESTAMPTZ) END",
}
FRACTION = re.compile(r"[+-]?\d+([.,])\d+")
CSV = "auto_detect = false, header = true, quote = '\"', escape = '\"'"
Columns = list[tuple[str, str]]  # their names and types


@dataclass(frozen=True)
class Source:
    """A table that DuckDB can read."""

    name: str  # what messages call it
    kind: str  # 'csv', 'json', 'parquet' or 'sql'
    columns: Sequence[str]  # the names in the header
    types: Sequence[str]  # the SQL types to read them as
    path: str = ""  # where DuckDB finds it
    compression: str = "none"
    delimiter: str = ","  # between the columns of CSV
    decimal: str = "."  # in the fractions of CSV

    def column(self, name: str) -> tuple[str, str]:
        """Return what SQL calls a column, and its type."""
        position = self.columns.index(name)
        return f"c{position}", self.types[position]

    def kind_of(self, name: str) -> str | None:
        """Return what a column holds by its type."""
        _, sort = self.column(name)
        return next((kind for kind, types in TYPES.items() if types.fullmatch(sort)), None)

    def cast(self, name: str, kind: str) -> str:
        """Return a column in SQL as a number, boolean, moment or text; NULL if it is none."""
        (c, _), holds = self.column(name), self.kind_of(name)
        text = f"CAST({c} AS VARCHAR)"
        if kind == "text":
            return f"nullif({text}, '')"
        if holds != "text":
            return FROM_TYPE[kind].format(c) if holds == kind else "NULL::DOUBLE"
        if kind == "number" and self.decimal == ",":
            x = FROM_TEXT[kind].format(f"replace({text}, ',', '.')")
            return f"CASE WHEN NOT contains({text}, '.') THEN {x} END"
        return FROM_TEXT[kind].format(text)

    def value(self, name: str, kind: str) -> str:
        """Return what `cast` does, and NULL also for the number NaN, which is a gap."""
        x = self.cast(name, kind)
        return f"nullif({x}, 'nan'::DOUBLE)" if kind == "number" else x

    def present(self, name: str) -> str:
        """Return the test that a value is there."""
        c, sort = self.column(name)
        return f"coalesce({c}, '') <> ''" if sort == "VARCHAR" else f"{c} IS NOT NULL"

    def unreadable(self, name: str, kind: str) -> str:
        """Return the test that a value is there, but not of its kind."""
        return f"({self.present(name)} AND {self.cast(name, kind)} IS NULL)"

    def relation(self, skip: bool = False) -> str:
        """Return SQL for the table, with its columns called c0, c1, and so on.

        With `skip`, DuckDB puts lines of CSV that are no rows on record; those of JSON are empty.
        """
        aliases = [f"c{index}" for index in range(len(self.columns))]
        options = []
        if self.kind != "parquet":
            names = self.columns if self.kind == "json" else aliases
            pairs = zip(map(literal, names), map(literal, self.types), strict=True)
            fields = ", ".join(map("{0[0]}: {0[1]}".format, pairs))
            options = [f"columns = {{{fields}}}", f"compression = '{self.compression}'"]
        if self.kind == "csv":
            options.append(f"delim = {literal(self.delimiter)}, {CSV}")
        if skip and self.kind == "csv":
            options.append(f"store_rejects = true, rejects_limit = {REJECTS}")
        if skip and self.kind == "json":
            options.append("ignore_errors = true, format = 'newline_delimited'")
        arguments = ", ".join([literal(self.path), *options])
        return f"read_{self.kind}({arguments}) AS t({', '.join(aliases)})"

    def first_bad(
        self, rows: str, bad: str, tests: Mapping[str, str], connection: "DuckDBPyConnection"
    ) -> tuple[str, str | None]:
        """Return which of `rows` is the first that is bad, and the column whose test it meets."""
        numbered = f"SELECT *, row_number() OVER () AS row FROM {rows}"
        outputs = ", ".join(["row", *(self.column(name)[0] for name in tests), *tests.values()])
        query = f"SELECT {outputs} FROM ({numbered}) WHERE {bad} LIMIT 1"
        [(row, *values)] = engine.attended(connection, query)
        place = f"row {row:,}" + (" below the header" if self.kind == "csv" else "")
        for name, value, is_met in zip(tests, values, values[len(tests) :], strict=False):
            if is_met:
                return f"{place}: {named(name)} is {engine.cell(value)}", name
        return place, None


@contextmanager
def opened(
    descriptor: int, name: str, kinds: Mapping[str, str | None], connection: "DuckDBPyConnection"
) -> Iterator[Source]:
    """Yield the table that the open file or pipe `descriptor` holds.

    Refuse it if two columns have one name, or if one of `kinds` is not there, or cannot be that.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a folder, not a file")
    # standard input may be a file of which something else has read the beginning
    whole = stat.S_ISREG(mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    with nullcontext(descriptor) if whole else stored(descriptor, name) as file:
        source = _recognised(file, name, kinds, connection)
        check(source.columns, name, kinds)
        for column, wanted in kinds.items():
            found = source.kind_of(column)
            if wanted and found not in (wanted, "text") and (wanted != "text" or not found):
                rule = f"must be {MUST_BE[wanted]}, its type is {source.column(column)[1]}"
                raise InputError(f"{name}: {named(column)} {rule}")
        yield source


def _recognised(
    descriptor: int, name: str, kinds: Collection[str], connection: "DuckDBPyConnection"
) -> Source:
    """Tell what kind of table a file is, from its content, and what columns it has."""
    path, compression = f"/dev/fd/{descriptor}", "none"
    head = os.pread(descriptor, HEAD, 0)
    last = max(0, os.fstat(descriptor).st_size - LONGEST_LINE)
    tail = os.pread(descriptor, LONGEST_LINE, last)
    if head.startswith(b"\x1f\x8b"):
        compression = "gzip"
        head, tail = _unpacked(path, name)
    if not head:
        raise InputError(f"{name} is empty")
    start = head.removeprefix(BOM).lstrip()
    delimiter, decimal = ",", "."
    if JSON_ARRAY.match(start):
        raise InputError(f"{name} is a JSON array, must be JSON lines: one object a line")
    if JSON_OBJECT.match(start):
        file = f"{literal(path)}, compression = '{compression}'"
        kind, columns = "json", _json_columns(file, name, kinds, connection)
    elif head.startswith(b"PAR1"):
        if compression == "gzip":
            raise InputError(f"{name} is Parquet within gzip; unpack it first")
        kind, columns = "parquet", _parquet_columns(path, connection)
    else:
        if len(tail) >= LONGEST_LINE and not {*b"\r\n"} & {*tail}:  # DuckDB can overlook it
            raise InputError(f"{name}: its last line is longer than {LONGEST_LINE:,} bytes")
        delimiter, header = _header(head, name, kinds)
        decimal = _decimal(head, delimiter)
        kind, columns = "csv", [(column, "VARCHAR") for column in header]
    names, types = [column for column, _ in columns], [sort for _, sort in columns]
    return Source(name, kind, names, types, path, compression, delimiter, decimal)


def _unpacked(path: str, name: str) -> tuple[bytes, bytes]:
    """Return both ends of a gzipped file; read all of it, as DuckDB looks at no checksums."""
    try:
        with gzip.open(path) as unpacked:
            head = tail = unpacked.read(HEAD)
            while chunk := unpacked.read(HEAD):
                tail = (tail + chunk)[-LONGEST_LINE:]
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is damaged: {error}") from error
    return head, tail


def _records(head: bytes, delimiter: str) -> Iterator[list[str]]:
    """Yield the lines that CSV begins with, up to one that cannot be read."""
    lines = io.StringIO(head.removeprefix(BOM).decode(errors="replace"), newline="")
    with suppress(csv.Error):
        yield from csv.reader(lines, delimiter=delimiter, strict=True)


def _decimal(head: bytes, delimiter: str) -> str:
    """Return how CSV writes fractions: as most of those that it begins with."""
    if delimiter == ",":
        return "."
    found = Counter[str]()
    for row in _records(head, delimiter):
        found.update(match[1] for cell in row if (match := FRACTION.fullmatch(cell)))
    return max(".,", key=lambda point: found[point])


def _header(head: bytes, name: str, kinds: Collection[str]) -> tuple[str, list[str]]:
    """Return the delimiter of CSV, the one that gives the most features, and the columns."""
    firsts = ((delimiter, next(_records(head, delimiter), None)) for delimiter in DELIMITERS)
    headers = {delimiter: header for delimiter, header in firsts if header is not None}
    if b"\0" in head or not headers:
        raise InputError(f"{name} is not a table: neither CSV in UTF-8, Parquet nor JSON lines")
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


def _parquet_columns(path: str, connection: "DuckDBPyConnection") -> Columns:
    """Return the names as they stand in the file, for DuckDB renames columns of one name."""
    query = "SELECT name, duckdb_type, coalesce(num_children, 0) FROM parquet_schema(?)"
    _, *tree = connection.execute(query, [path]).fetchall()  # from the root down
    columns, below = [], 0
    for name, sort, children in tree:
        if not below:
            columns.append((name, sort))
        below = max(0, below - 1) + children
    return columns


def _json_columns(
    file: str, name: str, kinds: Collection[str], connection: "DuckDBPyConnection"
) -> Columns:
    """Return the keys of all lines, for the last may bring a new one, and types that keep them."""
    columns = connection.execute(
        f"DESCRIBE FROM read_json({file}, format = 'newline_delimited', ignore_errors = true,"
        " sample_size = -1, map_inference_threshold = -1, field_appearance_threshold = 0)"
    ).fetchall()
    # DuckDB reads one of two keys that differ in case alone
    keys = connection.execute(
        "SELECT DISTINCT unnest(json_keys(json))"
        f" FROM read_ndjson_objects({file}, ignore_errors = true)"
    ).fetchall()
    spellings = Counter(key.lower() for (key,) in keys)
    if twins := sorted(key for key, count in spellings.items() if count > 1):
        raise InputError(f"{name}: keys differ in case alone: {listed(twins)}")
    return [
        (column, "VARCHAR" if column in kinds else _json_type(sort)) for column, sort, *_ in columns
    ]


def _json_type(sort: str) -> str:
    """Return a type that keeps JSON as it is: DuckDB would rewrite dates, and what is nested."""
    if sort in ("BOOLEAN", "BIGINT", "UBIGINT", "HUGEINT", "DOUBLE"):
        return sort
    return "JSON" if sort == "JSON" or sort.endswith((")", "]")) else "VARCHAR"


def check(columns: Sequence[str], name: str, features: Collection[str]) -> None:
    """Refuse a header that does not name every feature, or any column twice."""
    if missing := [feature for feature in features if feature not in columns]:
        what = f"column{'s' if len(missing) > 1 else ''} {listed(missing)}"
        raise InputError(f"{name}: {what} missing; found {listed(columns)}")
    if repeated := sorted(name for name, count in Counter(columns).items() if count > 1):
        raise InputError(f"{name}: more than one column is called {listed(repeated)}")
