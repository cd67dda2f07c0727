"""DuckDB at work on a table: one query that predicts the good rows and counts the others.

A query has no way to say more than its result, but it can raise sequences and write to the log.
So one pass over the rows gives the predictions, and how many rows are bad or out of range.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages import sql
from stages.cli import InputError
from stages.predictor import Feature, Predictor
from stages.source import REJECTS, Source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PATIENCE = 2.0  # seconds before there is a progress bar
MEMORY = 1 << 29  # bytes for each thread; a container may allow less
SHOWN = 80  # characters of a value in a message
LOGGED = 1000  # bad rows


@dataclass(frozen=True)
class Count:
    """What a query met.

    Attributes
    ----------
    good, bad, malformed : int
        Rows predicted, rows with a feature that is no number, and lines that are no rows.
    outside : int
        Good rows outside the training range.
    widest : Feature
        The feature that is outside most often.
    first : tuple of (int, str or None, object), or None
        The first bad row, if rows were numbered: its number, from 1, and the feature to blame with
        its value; no feature if the sum overflows.
    """

    good: int
    bad: int
    malformed: int
    outside: int
    widest: Feature
    first: tuple[int, str | None, Any] | None

    @property
    def complete(self) -> bool:
        """Whether all malformed lines were counted."""
        return self.malformed < REJECTS


@contextmanager
def connected(name: str) -> Iterator["DuckDBPyConnection"]:
    """Start DuckDB for the table `name`; by itself it keeps to a container's memory and processors.

    Raises
    ------
    InputError
        For whatever DuckDB cannot do with what it was given.
    """
    import duckdb

    connection = duckdb.connect()
    # with the memory of the whole machine DuckDB would read far ahead of what it has written
    [(memory,)] = connection.execute(
        "SELECT least(parse_formatted_bytes(current_setting('memory_limit')),"
        f" {MEMORY} * current_setting('threads'))"
    ).fetchall()
    connection.execute(f"SET memory_limit = '{memory} B'")
    connection.execute("SET temp_directory = ''")  # rows stream, and there may be no disk
    # it would make a TRY_CAST of CSV a CAST, which fails: github.com/duckdb/duckdb/issues/23818
    connection.execute("SET disabled_optimizers = 'type_pushdown'")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET enable_progress_bar = true")  # to be asked for, not to be printed
    connection.execute("SET enable_progress_bar_print = false")
    connection.execute("CALL enable_logging(level = 'error')")
    with explaining(name):
        yield connection


@contextmanager
def explaining(name: str) -> Iterator[None]:
    """Make what DuckDB cannot do with the table `name` a user's mistake."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise InputError(explained(str(error), name)) from error


def sift(
    source: Source, model: Predictor, outputs: str, skip: bool = False, numbered: bool = False
) -> str:
    """Return a query for `outputs` of the good rows, which counts the others as it goes.

    To `outputs`, the columns of the table are c0, c1, …, the features as numbers x0, x1, … in the
    order of the model, and the prediction is p. A row is good if p is finite, for a feature that
    is not gives a p that is not.

    Parameters
    ----------
    skip : bool
        Read past lines that cannot be parsed.
    numbered : bool
        Number the rows, and log the first bad ones. Only one thread can do that.
    """
    positions = [source.columns.index(feature.name) for feature in model.features]
    xs = [f"x{index}" for index in range(len(positions))]
    casts = [
        f"TRY_CAST(c{position} AS DOUBLE) AS {x}" for x, position in zip(xs, positions, strict=True)
    ]
    inside = [
        f"{x} BETWEEN {sql.double(feature.min)} AND {sql.double(feature.max)}"
        for x, feature in zip(xs, model.features, strict=True)
    ]
    tally = [
        f"CASE WHEN {test} THEN 0 ELSE nextval('outside_{index}') END"
        for index, test in enumerate(inside)
    ]
    drop = "nextval('bad') < 0"
    if numbered:
        casts.append("row_number() OVER () AS n")
        blame = " ".join(
            f"WHEN NOT coalesce(isfinite({x}), false) THEN json_array(n, {index}, c{position})"
            for index, (x, position) in enumerate(zip(xs, positions, strict=True))
        )
        drop = (
            f"CASE WHEN nextval('bad') <= {LOGGED} THEN write_log(CAST(CASE {blame} ELSE"
            " json_array(n) END AS VARCHAR), log_type := 'bad', level := 'error') IS NOT NULL END"
        )
    return f"""
        SELECT {outputs} FROM (
            SELECT *, {sql.expression(model, xs)} AS p FROM (
                SELECT *, {", ".join(casts)} FROM {source.relation(skip)}
            )
        ) WHERE CASE
            WHEN isfinite(p) AND {" AND ".join(inside)} THEN true
            WHEN isfinite(p) THEN nextval('outside') + {" + ".join(tally)} > 0
            ELSE {drop}
        END"""


def run(
    connection: "DuckDBPyConnection",
    statement: str,
    source: Source,
    model: Predictor,
    skip: bool = False,
) -> Count:
    """Execute a statement around a query of `sift`, whose result is one number: of good rows."""
    for name in ("bad", "outside", *(f"outside_{i}" for i in range(len(model.features)))):
        connection.execute(f"CREATE OR REPLACE SEQUENCE {name}")
    connection.execute("CALL truncate_duckdb_logs()")
    [(good,)] = attended(connection, statement)
    counted = dict(
        connection.execute(
            "SELECT sequence_name, coalesce(last_value, 0) FROM duckdb_sequences()"
        ).fetchall()
    )
    logged = connection.execute("SELECT message FROM duckdb_logs WHERE type = 'bad'").fetchall()
    first = None
    if logged:
        row, *blame = min((json.loads(message) for (message,) in logged), key=lambda log: log[0])
        first = (row, model.features[blame[0]].name, blame[1]) if blame else (row, None, None)
    malformed = 0
    if source.kind == "csv" and skip:
        rejects = connection.execute("SELECT count(DISTINCT line) FROM reject_errors")
        [(malformed,)] = rejects.fetchall()
    widest = max(range(len(model.features)), key=lambda index: int(counted[f"outside_{index}"]))
    return Count(good, counted["bad"], malformed, counted["outside"], model.features[widest], first)


def attended(connection: "DuckDBPyConnection", statement: str) -> list[Any]:
    """Execute a statement in another thread, while this one draws progress and hears signals."""
    results: list[Any] = []
    failures: list[Exception] = []

    def execute() -> None:
        try:
            results.extend(connection.execute(statement).fetchall())
        except Exception as error:
            failures.append(error)

    worker = threading.Thread(target=execute, daemon=True)
    worker.start()
    began, drawn = time.monotonic(), False
    try:
        while worker.is_alive():
            worker.join(0.2)
            if sys.stderr.isatty() and time.monotonic() - began > PATIENCE:
                drawn = draw(connection.query_progress()) or drawn
    finally:
        if drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if failures:
        raise failures[0]
    return results


def draw(percent: float) -> bool:
    """Draw a progress bar, and return True; not if nobody can know, as with a pipe."""
    if percent < 0:
        return False
    bar = "#" * int(percent * 0.4)
    print(f"\r[{bar:40}] {percent:3.0f} %", end="", file=sys.stderr, flush=True)
    return True


def complaint(count: Count, kind: str) -> str:
    """Say what is wrong with the first bad row, and how many there are."""
    row, feature, value = count.first or (0, None, None)
    if feature is None:
        what = "the prediction is too large for a number"
    else:
        what = f"{feature} is {shown(value)}, must be a finite number"
    return f"{located(row, kind)}: {what} ({plural(count.bad, 'bad row')} in all)"


def located(row: int, kind: str) -> str:
    """Say which row it is, counted from 1."""
    return f"row {row:,}" + (" below the header" if kind == "csv" else "")


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown(value: Any) -> str:
    """Return a value of a table for people, not longer than they want to read."""
    if value is None:
        return "empty"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def explained(message: str, name: str) -> str:
    """Shorten a message of DuckDB to one line, without its advice to people who write SQL."""
    if "No space left on device" in message:
        return "output cannot be written: No space left on device"
    for advice in ("Possible fixes", "Possible Solution", "\n\nLINE ", "\nTry ", "\n* "):
        message = message.partition(advice)[0]
    lines = (line.strip() for line in (message.partition("Error: ")[2] or message).splitlines())
    short = (line if len(line) <= 2 * SHOWN else line[: 2 * SHOWN] + "…" for line in lines if line)
    return f"{name}: " + re.sub(r"/dev/fd/\d+", name.replace("\\", r"\\"), "; ".join(short))
