"""The table to predict: what it is, its columns, and a way for DuckDB to read it.

What a file is, its content says and not its name. DuckDB gets it as `/dev/fd/N`, so that no name
is taken for a pattern or an address. A pipe of CSV streams through, its first bytes read for the
header and handed on; Parquet and JSON are read out of order, so a pipe of them is stored first: in
a temporary file, or in memory where no folder can be written to.
"""

import csv
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from stages.cli import InputError
from stages.pipes import CHUNK, fed, stored
from stages.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HEAD = 1 << 20  # bytes in which the header must end
REJECTS = 100_000  # malformed lines that are counted; DuckDB stores each of them in memory
DELIMITERS = ",;\t|"
LISTED = 20  # names in a message
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
    seekable : bool
        Whether it can be read more than once.
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
    seekable: bool
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
        aliases = ", ".join(f"c{index}" for index in range(len(self.columns)))
        if self.kind == "parquet":
            return f"read_parquet({literal(self.path)}) AS t({aliases})"
        options = [literal(self.path), f"compression = '{'gzip' if self.gzipped else 'none'}'"]
        if self.kind == "json":
            names, errors = self.columns, "ignore_errors = true, format = 'newline_delimited'"
        else:
            names = tuple(f"c{index}" for index in range(len(self.columns)))
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
    seekable = stat.S_ISREG(mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    head = _read(descriptor, HEAD if seekable else CHUNK)
    if not head:
        raise InputError(f"{name} is empty")
    gzipped = head.startswith(b"\x1f\x8b")
    try:
        text = next(_inflate([head])) if gzipped else head
    except zlib.error as error:
        raise InputError(f"{name} is damaged: {error}") from error
    path = f"/dev/fd/{descriptor}"

    first = text.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first == b"[":
        raise InputError(f"{name} is a JSON array, must be JSON lines: one object a line")
    if text.startswith(b"PAR1") or first == b"{":
        kind = "json" if first == b"{" else "parquet"
        if kind == "parquet" and gzipped:
            raise InputError(f"{name} is Parquet within gzip; unpack it first")
        if seekable:
            yield _described(name, kind, path, gzipped, features, connection)
        else:
            with stored(chain([head], _chunks(descriptor)), name) as copy:
                path = f"/dev/fd/{copy}"
                yield _described(name, kind, path, gzipped, features, connection)
        return

    delimiter, columns = _header(text, name, features)
    _check(columns, name, features)
    types = ("VARCHAR",) * len(columns)
    if seekable:
        yield Source(name, "csv", path, gzipped, True, columns, types, delimiter)
    else:
        chunks: Iterable[bytes] = chain([head], _chunks(descriptor))
        with fed(_inflate(chunks) if gzipped else chunks, name) as path:
            yield Source(name, "csv", path, False, False, columns, types, delimiter)


def _read(descriptor: int, size: int) -> bytes:
    """Read `size` bytes, or all there are."""
    with open(descriptor, "rb", closefd=False, buffering=0) as file:
        parts: list[bytes] = []
        while size and (part := file.read(size)):
            parts.append(part)
            size -= len(part)
    return b"".join(parts)


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def _inflate(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip, of one member or several."""
    member = zlib.decompressobj(31)
    for chunk in chunks:
        while chunk:
            if member.eof:
                member = zlib.decompressobj(31)
            yield member.decompress(chunk)
            chunk = member.unused_data
    if not member.eof:
        raise zlib.error("it ends in the middle of a gzip stream")


def _header(head: bytes, name: str, features: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the delimiter of CSV, the one that gives the most features, and the columns."""
    start = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    headers = {}
    for delimiter in DELIMITERS:
        lines = io.StringIO(start, newline="")
        try:
            headers[delimiter] = tuple(next(csv.reader(lines, delimiter=delimiter, strict=True)))
        except (csv.Error, StopIteration):
            continue
    if b"\0" in head[:CHUNK] or not headers:
        raise InputError(f"{name} is not a table: neither CSV in UTF-8, Parquet nor JSON lines")
    delimiter = max(headers, key=lambda key: len(set(features).intersection(headers[key])))
    if "\N{REPLACEMENT CHARACTER}" in "".join(headers[delimiter]):
        raise InputError(f"{name}: its header is not UTF-8")
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
        types = tuple(
            "VARCHAR" if column in features else _json_type(sort)
            for column, sort in zip(columns, types, strict=True)
        )
    for column, sort in zip(columns, types, strict=True):
        if column in features and not NUMERIC.match(sort):
            raise InputError(f"{name}: {column} must be a number, its type is {sort}")
    return Source(name, kind, path, gzipped, True, columns, types)


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


def listed(columns: Sequence[str]) -> str:
    """List names of columns for people, not all if there are many."""
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return ", ".join(map(_shown, columns[:LISTED])) + more


def _shown(column: str) -> str:
    """Shorten a name, and escape it where it would break the line."""
    short = column if len(column) <= 40 else column[:40] + "…"
    return short if short.isprintable() and short else json.dumps(short)
