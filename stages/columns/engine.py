"""DuckDB at work: started for one table, heard while it runs, and its errors as one line."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.columns.sql import DUCKDB, Dialect
from stages.project import cli
from stages.project.cli import InputError
from stages.project.text import cut, shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = 1 << 29  # bytes for each thread, unless the limit of a container is lower
SHOWN = 160  # characters of a line of DuckDB's messages
SETTINGS = {
    "TimeZone": "UTC",  # of dates and times that tell none
    "temp_directory": "",  # rows stream, and there may be no disk
    # one makes a TRY_CAST of CSV a CAST, which fails: github.com/duckdb/duckdb/issues/23818;
    # the other finds no NaN where Parquet tells the least and the greatest value
    "disabled_optimizers": "type_pushdown,statistics_propagation",
    "autoinstall_known_extensions": "false",
    "enable_progress_bar": "true",  # to be asked for, not to be printed
    "enable_progress_bar_print": "false",
}


@dataclass(frozen=True)
class DuckDB:
    """DuckDB as an engine: it runs SQL over the view VIEW of a data set, as `spark.Spark` does."""

    name: str  # what messages call the data set
    connection: "DuckDBPyConnection"
    dialect: Dialect = DUCKDB
    most: int = 1000  # aggregates of one query: with more it gets slow

    def rows(self, query: str) -> list[Any]:
        return attended(self.connection, query)


def changed(name: str, *counts: int) -> InputError:
    """Return the error that queries have found different numbers of rows."""
    found = " and then ".join(f"{count:,}" for count in counts)
    return InputError(f"{name} changed: it had {found} rows within its ranges; pin its snapshot")


@contextmanager
def connected(name: str) -> Iterator["DuckDBPyConnection"]:
    """Start DuckDB for the table `name`; what it cannot do with that is a user's mistake.

    By itself it keeps to a container's memory and processors.
    """
    try:
        import duckdb
    except ImportError as error:  # missing, or with too little memory to be loaded
        raise InputError(f"DuckDB cannot be loaded: {error}") from error

    with explaining(name):
        connection = duckdb.connect()
        # with the memory of the whole machine DuckDB would read far ahead of what it has written
        [(memory,)] = connection.execute(
            "SELECT least(parse_formatted_bytes(current_setting('memory_limit')),"
            f" {MEMORY} * current_setting('threads'))"
        ).fetchall()
        for setting, value in {"memory_limit": f"{memory} B", **SETTINGS}.items():
            connection.execute(f"SET {setting} = '{value}'")
        yield connection


@contextmanager
def explaining(name: str) -> Iterator[None]:
    """Make what DuckDB cannot do with the table `name` a user's mistake."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise InputError(explained(str(error), name)) from error


def attended(connection: "DuckDBPyConnection", statement: str) -> list[Any]:
    """Execute a statement in another thread, while this one draws progress and hears signals."""
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        try:
            result = pool.submit(lambda: connection.execute(statement).fetchall())
        except RuntimeError as error:  # no memory for another thread
            raise MemoryError from error
        while not wait([result], timeout=0.2).done:
            cli.progress(max(0.0, connection.query_progress() / 100), began)
    cli.progress(1, began)
    return result.result()


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Refuse what was read from a file that something else has written to meanwhile."""
    version = attrgetter("st_ino", "st_size", "st_mtime_ns")
    before = version(path.stat())
    yield
    if version(path.stat()) != before:
        raise InputError(f"{path} changed while it was read")


def cell(value: object) -> str:
    """Return a value of a table for people."""
    return "empty" if value is None else shown(value)


def explained(message: str, name: str) -> str:
    """Shorten a message of DuckDB to one line, without its advice to people who write SQL."""
    if "No space left on device" in message:
        return "output cannot be written: No space left on device"
    for advice in ("Possible fixes", "Possible Solution", "\n\nLINE ", "\nTry ", "\n* "):
        message = message.partition(advice)[0]
    lines = map(str.strip, (message.partition("Error: ")[2] or message).splitlines())
    short = (cut(line, SHOWN) for line in lines if line)
    return f"{name}: " + re.sub(r"/dev/fd/\d+", name.replace("\\", r"\\"), "; ".join(short))
