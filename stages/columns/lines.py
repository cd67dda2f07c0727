"""The lines of CSV: what DuckDB must be told of them, and a copy where it cannot read them.

Where one of its threads begins in the middle of a file, DuckDB may lose rows or invent some: near
quotes, and near malformed lines when it stores their errors. One thread reads all rows, but takes
the end of the file for the end of a quote, so that Python must look for such a quote before.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader, IncrementalNewlineDecoder, TextIOWrapper
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

from stages.project.cli import InputError

HEAD = 1 << 20  # bytes in which the header must end
SPLIT = 8_000_000  # bytes, behind which DuckDB begins with another thread
LONGEST = 2_000_000  # characters of a value; to DuckDB, bytes of a line


class Look(NamedTuple):
    """What a file is like."""

    head: bytes
    is_packed: bool
    is_long: bool
    has_quotes: bool
    is_mixed: bool  # in the ends of its lines
    has_odd_digits: bool  # _ or +- below the header, which DuckDB takes for parts of a number


def look(path: Path, name: str) -> Look:
    """Look at a file; CSV is read to its end, as DuckDB ignores the checksum of gzip."""
    ends = IncrementalNewlineDecoder(None, translate=False)
    size, quotes, odd = 0, False, False
    try:
        with _open(path) as file:
            block = head = file.read(HEAD)
            below = head.find(b"\n")
            while block and not head.startswith(b"PAR1"):
                block += file.read(1) if block.endswith(b"+") else b""  # to see both
                ends.decode(block.decode("latin-1"))
                size, quotes = size + len(block), quotes or b'"' in block
                odd = odd or any(block.find(digits, below) >= 0 for digits in (b"_", b"+-"))
                block, below = file.read(HEAD), 0
            ends.decode("", final=True)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is damaged: {error}") from error
    is_packed = isinstance(file, gzip.GzipFile)
    return Look(head, is_packed, size > SPLIT, quotes, isinstance(ends.newlines, tuple), odd)


def read(path: Path, name: str, encoding: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows of CSV as Python reads it; refuse a quote that does not end."""
    csv.field_size_limit(LONGEST)
    before = 0
    # bytes that are not UTF-8 stay, so that DuckDB tells their line
    with _open(path) as file, TextIOWrapper(file, encoding, "surrogateescape", newline="") as text:
        # as DuckDB has it, blanks before quotes are no part of a value
        rows = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for row in rows:
                yield row
                before = rows.line_num
        except (csv.Error, UnicodeError) as error:
            what = f"has a quote that does not end, or is damaged: {error}"
            raise InputError(f"{name}: line {before + 1:,} {what}") from error


def copy(rows: Iterator[list[str]], delimiter: str, folder: Path | None) -> Path:
    """Write CSV in UTF-8, with lines that end alike, to a new file."""
    with NamedTemporaryFile(
        "w", encoding="utf-8", errors="surrogateescape", newline="", dir=folder, delete=False
    ) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return Path(file.name)


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if is_packed else path.open("rb")
