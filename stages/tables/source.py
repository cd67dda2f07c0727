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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.project.cli import InputError
from stages.project.text import listed, named
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
NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT$|U?INTEGER$|FLOAT$|DOUBLE$|DECIMAL\(|VARCHAR$")


@dataclass(frozen=True)
class Source:
    """A table that DuckDB can read.

    Attributes
    ----------
    name : str
        What messages call it.
    kind : {'csv', 'json', 'parquet'}
    path : str
        Where DuckDB finds it.
    gzipped : bool
    columns : tuple of str
        The names in the header.
    types : tuple of str
        The SQL types to read them as.
    delimiter : str
        What separates the columns of CSV.
    """

    name: str
    kind: str
    path: str
    gzipped: bool
    columns: tuple[str, ...]
    types: tuple[str, ...]
    delimiter: str = ","

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
    descriptor: int, name: str, features: Sequence[str], connection: "DuckDBPyConnection"
) -> Iterator[Source]:
    """Yield the table that the open file or pipe `descriptor` holds.

    Raises
    ------
    InputError
        It is no table, its columns have names in common, or not all `features` are there.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a folder, not a file")
    # standard input may be a file of which something else has read the beginning
    whole = stat.S_ISREG(mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    with nullcontext(descriptor) if whole else stored(descriptor, name) as file:
        yield _recognised(file, name, features, connection)


def _recognised(
    descriptor: int, name: str, features: Sequence[str], connection: "DuckDBPyConnection"
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
        return _described(name, "json", path, gzipped, features, connection)
    if head.startswith(b"PAR1"):
        if gzipped:
            raise InputError(f"{name} is Parquet within gzip; unpack it first")
        return _described(name, "parquet", path, gzipped, features, connection)
    if len(tail) >= LONGEST_LINE and not {*b"\r\n"} & {*tail}:  # DuckDB can overlook such a line
        raise InputError(f"{name}: its last line is longer than {LONGEST_LINE:,} bytes")
    delimiter, columns = _header(head, name, features)
    _check(columns, name, features)
    types = ("VARCHAR",) * len(columns)
    return Source(name, "csv", path, gzipped, columns, types, delimiter)


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


def _header(head: bytes, name: str, features: Sequence[str]) -> tuple[str, tuple[str, ...]]:
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
    delimiter = max(headers, key=lambda key: len(set(features).intersection(headers[key])))
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
    features: Sequence[str],
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
    _check(columns, name, features)
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
            "VARCHAR" if column in features else _json_type(sort)
            for column, sort in zip(columns, types, strict=True)
        )
    for column, sort in zip(columns, types, strict=True):
        if column in features and not NUMERIC.match(sort):
            raise InputError(f"{name}: {named(column)} must be a number, its type is {sort}")
    return Source(name, kind, path, gzipped, columns, types)


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


def _check(columns: Sequence[str], name: str, features: Sequence[str]) -> None:
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
