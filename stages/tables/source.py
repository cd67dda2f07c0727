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

from stages.project.cli import InputError
from stages.project.text import listed, named
from stages.tables.inputs import MUST_BE
from stages.tables.pipes import stored
from stages.tables.sql import literal

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
FRACTION = re.compile(r"[+-]?\d+([.,])\d+")


@dataclass(frozen=True)
class Source:
    """A table that DuckDB can read.

    Attributes
    ----------
    name : str
        What messages call it.
    kind : {'csv', 'json', 'parquet', 'sql'}
    path : str
        Where DuckDB finds it.
    gzipped : bool
    columns : tuple of str
        The names in the header.
    types : tuple of str
        The SQL types to read them as.
    delimiter : str
        What separates the columns of CSV.
    decimal : {'.', ','}
        How CSV writes fractions.
    """

    name: str
    kind: str
    path: str
    gzipped: bool
    columns: tuple[str, ...]
    types: tuple[str, ...]
    delimiter: str = ","
    decimal: str = "."

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
        (c, sort), holds = self.column(name), self.kind_of(name)
        if kind == "text":
            return f"nullif(CAST({c} AS VARCHAR), '')"
        if holds != "text":
            if holds != kind:
                return "NULL::DOUBLE"
            if kind == "date":  # others can be infinite, or cannot be written to CSV
                moment = f"TRY_CAST({c} AS TIMESTAMPTZ)"
                return f"CASE WHEN year({moment}) BETWEEN 1 AND 9999 THEN {moment} END"
            return c if kind == "boolean" else f"CAST({c} AS DOUBLE)"
        if sort != "VARCHAR":
            c = f"CAST({c} AS VARCHAR)"
        if kind == "boolean":
            return f"CASE lower({c}) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"
        if kind == "date":  # DuckDB knows more forms than others
            return f"CASE WHEN {c}[5] = '-' THEN TRY_CAST({c} AS TIMESTAMPTZ) END"
        # DuckDB reads +-1 and 1_000 as numbers, too, which nobody else does
        foreign = [f"contains({c}, {literal(part)})" for part in ("+-", "_")]
        if self.decimal == ",":
            foreign.append(f"contains({c}, '.')")
            c = f"replace({c}, ',', '.')"
        return f"CASE WHEN NOT ({' OR '.join(foreign)}) THEN TRY_CAST({c} AS DOUBLE) END"

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

    def relation(self, skip: bool) -> str:
        """Return SQL for the table, with its columns called c0, c1 and so on.

        Parameters
        ----------
        skip : bool
            Read past lines that cannot be parsed. Those of CSV are put on record by DuckDB, those
            of JSON come out empty.
        """
        numbered = tuple(f"c{index}" for index in range(len(self.columns)))
        aliases = ", ".join(numbered)
        if self.kind == "parquet":
            return f"read_parquet({literal(self.path)}) AS t({aliases})"
        options = [literal(self.path), f"compression = '{'gzip' if self.gzipped else 'none'}'"]
        if self.kind == "json":
            names, errors = self.columns, "ignore_errors = true, format = 'newline_delimited'"
        else:
            names = numbered
            errors = f"store_rejects = true, rejects_limit = {REJECTS}"
            options += [
                "auto_detect = false",
                "header = true",
                f"delim = {literal(self.delimiter)}",
                "quote = '\"'",
                "escape = '\"'",
            ]
        pairs = zip(names, self.types, strict=True)
        fields = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in pairs)
        options.append(f"columns = {{{fields}}}")
        if skip:
            options.append(errors)
        return f"read_{self.kind}({', '.join(options)}) AS t({aliases})"


@contextmanager
def opened(
    descriptor: int, name: str, kinds: Mapping[str, str | None], connection: "DuckDBPyConnection"
) -> Iterator[Source]:
    """Yield the table that the open file or pipe `descriptor` holds.

    Raises
    ------
    InputError
        It is no table, two columns have one name, or one of `kinds` is not there, or of a type
        that cannot hold its kind.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a folder, not a file")
    # standard input may be a file of which something else has read the beginning
    whole = stat.S_ISREG(mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    with nullcontext(descriptor) if whole else stored(descriptor, name) as file:
        yield _recognised(file, name, kinds, connection)


def _recognised(
    descriptor: int, name: str, kinds: Mapping[str, str | None], connection: "DuckDBPyConnection"
) -> Source:
    """Tell what kind of table a file is, from its content, and what columns it has."""
    gzipped, head, tail = _ends(descriptor, name)
    path = f"/dev/fd/{descriptor}"
    if not head:
        raise InputError(f"{name} is empty")
    start = head.removeprefix(BOM).lstrip()
    if JSON_ARRAY.match(start):
        raise InputError(f"{name} is a JSON array, must be JSON lines: one object a line")
    if JSON_OBJECT.match(start):
        return _described(name, "json", path, gzipped, kinds, connection)
    if head.startswith(b"PAR1"):
        if gzipped:
            raise InputError(f"{name} is Parquet within gzip; unpack it first")
        return _described(name, "parquet", path, gzipped, kinds, connection)
    if len(tail) >= LONGEST_LINE and not {*b"\r\n"} & {*tail}:  # DuckDB can overlook such a line
        raise InputError(f"{name}: its last line is longer than {LONGEST_LINE:,} bytes")
    delimiter, columns = _header(head, name, kinds)
    check(columns, name, kinds)
    types = ("VARCHAR",) * len(columns)
    return Source(name, "csv", path, gzipped, columns, types, delimiter, _decimal(head, delimiter))


def _ends(descriptor: int, name: str) -> tuple[bool, bytes, bytes]:
    """Return whether a file is gzipped, and the beginning and the end of its content.

    What is gzipped is read as a whole, for DuckDB does not look at its checksums.
    """
    with open(os.dup(descriptor), "rb") as file:  # noqa: PTH123
        file.seek(0)
        head = file.read(HEAD)
        if not head.startswith(b"\x1f\x8b"):
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LINE))
            return False, head, file.read()
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                head = tail = unpacked.read(HEAD)
                while chunk := unpacked.read(HEAD):
                    tail = (tail + chunk)[-LONGEST_LINE:]
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{name} is damaged: {error}") from error
    return True, head, tail


def _decimal(head: bytes, delimiter: str) -> str:
    """Return how CSV writes fractions: as most of those that it begins with."""
    if delimiter == ",":
        return "."
    lines = io.StringIO(head.decode(errors="replace"), newline="")
    found = Counter[str]()
    with suppress(csv.Error):  # as of a cell that does not end
        for row in csv.reader(lines, delimiter=delimiter):
            found.update(match[1] for cell in row if (match := FRACTION.fullmatch(cell)))
    return max(".,", key=lambda point: found[point])


def _header(head: bytes, name: str, kinds: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return the delimiter of CSV, the one that gives the most features, and the columns."""
    start = head.removeprefix(BOM).decode(errors="replace")
    headers = {}
    for delimiter in DELIMITERS:
        lines = io.StringIO(start, newline="")
        try:
            headers[delimiter] = tuple(next(csv.reader(lines, delimiter=delimiter, strict=True)))
        except (csv.Error, StopIteration):
            continue
    if b"\0" in head or not headers:
        raise InputError(f"{name} is not a table: neither CSV in UTF-8, Parquet nor JSON lines")
    if len(head) == HEAD and not {*b"\r\n"} & {*head}:
        raise InputError(f"{name}: its header is longer than {HEAD >> 20} MB")
    delimiter = max(
        headers, key=lambda d: (len({*kinds}.intersection(headers[d])), len(headers[d]))
    )
    if "\N{REPLACEMENT CHARACTER}" in "".join(headers[delimiter]):
        raise InputError(f"{name}: its header is not UTF-8")
    if head.startswith(BOM) and {"\n", "\r"} & {*headers[delimiter][0]}:  # DuckDB reads it wrongly
        raise InputError(f"{name}: its first column has a line break in its name behind a BOM")
    return delimiter, headers[delimiter]


def _described(
    name: str,
    kind: str,
    path: str,
    gzipped: bool,
    kinds: Mapping[str, str | None],
    connection: "DuckDBPyConnection",
) -> Source:
    """Ask DuckDB for the columns of Parquet or JSON, and their types."""
    options = ""
    if kind == "json":  # all of it, for a column may begin to exist in the last line
        options = (
            ", format = 'newline_delimited', ignore_errors = true, sample_size = -1"
            ", map_inference_threshold = -1, field_appearance_threshold = 0"
            f", compression = '{'gzip' if gzipped else 'none'}'"
        )
    rows = connection.execute(
        f"DESCRIBE SELECT * FROM read_{kind}({literal(path)}{options})"
    ).fetchall()
    columns = tuple(row[0] for row in rows)
    types = tuple(row[1] for row in rows)
    if kind == "parquet":
        # DuckDB renames columns of one name, so ask for the names as they stand in the file
        schema = connection.execute(
            "SELECT name, coalesce(num_children, 0) FROM parquet_schema(?)", [path]
        ).fetchall()
        columns = tuple(_children(schema))
    check(columns, name, kinds)
    if kind == "json":
        # DuckDB reads one of two keys that differ in case alone
        keys = connection.execute(
            "SELECT DISTINCT unnest(json_keys(json))"
            " FROM read_ndjson_objects(?, ignore_errors = true, compression = ?)",
            [path, "gzip" if gzipped else "none"],
        ).fetchall()
        lower = [key.lower() for (key,) in keys]
        if twins := sorted({key for key in lower if lower.count(key) > 1}):
            raise InputError(f"{name}: keys differ in case alone: {listed(twins)}")
        types = tuple(
            "VARCHAR" if column in kinds else _json_type(sort)
            for column, sort in zip(columns, types, strict=True)
        )
    source = Source(name, kind, path, gzipped, columns, types)
    for column, wanted in kinds.items():
        found = source.kind_of(column)
        if wanted and found not in (wanted, "text") and (wanted != "text" or not found):
            sort = source.column(column)[1]
            raise InputError(
                f"{name}: {named(column)} must be {MUST_BE[wanted]}, its type is {sort}"
            )
    return source


def _json_type(sort: str) -> str:
    """Return a type that keeps JSON as it is: DuckDB would rewrite dates, and what is nested."""
    if sort in ("BOOLEAN", "BIGINT", "UBIGINT", "HUGEINT", "DOUBLE"):
        return sort
    return "JSON" if sort == "JSON" or sort.endswith((")", "]")) else "VARCHAR"


def _children(schema: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Yield the columns of a Parquet schema, which lists its tree from the root down."""
    pending = 0
    for index, (name, children) in enumerate(schema):
        if index and not pending:
            yield name
        pending = max(0, pending - 1) + children if index else 0


def check(columns: Sequence[str], name: str, features: Collection[str]) -> None:
    """Refuse a header that does not name every feature, or any column twice."""
    missing = [feature for feature in features if feature not in columns]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise InputError(
            f"{name}: column{plural} {listed(missing)} missing; found {listed(columns)}"
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise InputError(f"{name}: more than one column is called {listed(repeated)}")
