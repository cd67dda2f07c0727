"""DuckDB at work: started for one table, stopped by a signal, its errors as one line."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from stages.project.cli import SIGNALS, InputError
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
    "enable_progress_bar": "false",  # it goes to standard output, where results go
}


@contextmanager
def connect(name: str) -> Iterator["DuckDBPyConnection"]:
    """Start DuckDB for the table `name`; what it cannot do with that is a user's mistake.

    By itself it keeps to a container's memory and processors.
    """
    try:
        import duckdb
    except ImportError as error:  # missing, or with too little memory to be loaded
        raise InputError(f"DuckDB cannot be loaded: {error}") from error

    with translate_errors(name), duckdb.connect() as connection, stop_at_signals(connection):
        # with the memory of the whole machine DuckDB would read far ahead of what it has written
        [(memory,)] = execute(
            connection,
            "SELECT least(parse_formatted_bytes(current_setting('memory_limit')),"
            f" {MEMORY} * current_setting('threads'))",
        )
        for setting, value in {"memory_limit": f"{memory} B", **SETTINGS}.items():
            connection.execute(f"SET {setting} = '{value}'")
        yield connection


@contextmanager
def stop_at_signals(connection: "DuckDBPyConnection") -> Iterator[None]:
    """Interrupt a query before a handler raises, as DuckDB would run it to its end first."""
    handlers = {
        signum: handler for signum in SIGNALS if callable(handler := signal.getsignal(signum))
    }

    def stop(signum: int, frame: FrameType | None) -> None:
        connection.interrupt()
        handlers[signal.Signals(signum)](signum, frame)

    for signum in handlers:
        signal.signal(signum, stop)
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Make what DuckDB cannot do with the table `name` a user's mistake."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise InputError(shorten(str(error), name)) from error


def execute(connection: "DuckDBPyConnection", statement: str) -> list[Any]:
    """Execute a statement, and return the rows of its result."""
    return connection.execute(statement).fetchall()


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


def shorten(message: str, name: str) -> str:
    """Return a message of DuckDB on one line, without its advice to people who write SQL."""
    if "No space left on device" in message:
        return "output cannot be written: No space left on device"
    message = re.split(r"Possible fixes|Possible Solution|\n\nLINE |\nTry |\n\* ", message)[0]
    lines = map(str.strip, (message.partition("Error: ")[2] or message).splitlines())
    return f"{name}: " + "; ".join(cut(line, SHOWN) for line in lines if line)
