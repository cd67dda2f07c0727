"""DuckDB as an engine: started for one table, its errors as one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.columns.sql import DUCKDB, Dialect, literal
from stages.project.cli import InputError
from stages.project.text import cut, show

MEMORY = 1 << 29  # bytes for each thread, unless the limit of a container is lower
SHOWN = 160  # characters of a line of DuckDB's messages
ADVICE = r"Possible fixes|Possible Solution|\n\nLINE |\nTry |\nDatabase |\n\* "
CONVERT = "if it is Windows-1252, `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW` converts it"
VECTOR = 2048  # rows, of which DuckDB's groups are multiples
GROUP = 2**18  # values of a group of rows
SETTINGS = {
    "TimeZone": "UTC",  # of dates and times that tell none
    "temp_directory": "",  # rows stream, and there may be no disk
    # one makes a TRY_CAST of CSV a CAST, which fails: github.com/duckdb/duckdb/issues/23818;
    # one finds no NaN where Parquet tells the least and the greatest value; and one makes of a long
    # IN a join, whose rows come in any order
    "disabled_optimizers": "type_pushdown,statistics_propagation,in_clause",
    "max_expression_depth": 5000,  # a term of a sum is one deeper than the term before
    "autoinstall_known_extensions": "false",
    "enable_progress_bar": "false",  # it goes to standard output, where results go
}


@dataclass(frozen=True)
class DuckDB:
    """DuckDB at work; `tables.spark.Spark` has all that it has."""

    name: str  # what messages call the table
    connection: Any
    dialect: Dialect = DUCKDB
    most: int = 100  # aggregates of one query: with more it gets slow

    def rows(self, query: str) -> list[Any]:
        return list(self.connection.execute(query).fetchall())

    def describe(self, query: str) -> tuple[list[str], list[str]]:
        """Return the names of the columns of a query, and their types."""
        names, types, *_ = zip(*self.rows(f"DESCRIBE {query}"), strict=True)
        return [*names], [*types]

    def copy(self, query: str, n_columns: int, path: Path, codec: str = "zstd") -> None:
        """Write what `query` selects as Parquet.

        Snappy, the default, compresses differently on arm64 than on x86-64; zstd does not.
        """
        group = max(1, GROUP // n_columns // VECTOR) * VECTOR  # wide tables need no more memory
        options = f"FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE {group}, USE_TMP_FILE false"
        self.rows(f"COPY ({query}) TO {literal(str(path))} ({options})")


@contextmanager
def connect(name: str) -> Iterator[DuckDB]:
    """Start DuckDB for the table `name`; what it cannot do with that is a user's mistake."""
    import duckdb

    try:
        with duckdb.connect() as connection:
            on = DuckDB(name, connection)
            # with the whole machine's memory DuckDB would read far ahead of what it has written
            [(memory,)] = on.rows(
                "SELECT least(parse_formatted_bytes(current_setting('memory_limit')),"
                f" {MEMORY} * current_setting('threads'))"
            )
            for setting, value in {"memory_limit": f"{memory} B", **SETTINGS}.items():
                connection.execute(f"SET {setting} = '{value}'")
            yield on
    except duckdb.Error as error:
        raise InputError(shorten(str(error), name)) from error


def cell(value: object) -> str:
    """Return a value of a table for people."""
    return "empty" if value is None else show(value)


def shorten(message: str, name: str) -> str:
    """Return a message of DuckDB on one line, without its advice to people who write SQL."""
    if "No space left on device" in message:
        return "output cannot be written: No space left on device"
    message = re.split(ADVICE, message)[0]
    lines = [*map(str.strip, (message.partition("Error: ")[2] or message).splitlines())]
    lines += [CONVERT] if "not utf-8 encoded" in message else []
    return f"{name}: " + "; ".join(cut(line, SHOWN) for line in lines if line)
