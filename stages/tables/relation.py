"""A data set as SQL sees it: typed columns, rows, and the engine that has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.columns import engine
from stages.columns.sql import DUCKDB, Dialect, literal
from stages.project.cli import InputError
from stages.tables.spark import Spark

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VECTOR = 2048  # rows, of which DuckDB's groups are multiples
GROUP = 2**18  # values of a group of rows


@dataclass(frozen=True)
class Rows:
    """Some rows of a table, which SQL calls t."""

    source: str  # what stands behind FROM
    where: str = "TRUE"

    def only(self, condition: str) -> "Rows":
        """Return those of the rows that meet a condition."""
        return Rows(self.source, f"{self.where} AND {condition}")

    def select(self, columns: Sequence[str]) -> str:
        return f"SELECT {', '.join(columns)} FROM {self.source} WHERE {self.where}"


@dataclass(frozen=True)
class DuckDB:
    """DuckDB as an engine; it has all that `Spark` has."""

    name: str  # what messages call the data set
    connection: "DuckDBPyConnection"
    dialect: Dialect = DUCKDB
    most: int = 1000  # aggregates of one query: with more it gets slow

    def rows(self, query: str) -> list[Any]:
        return engine.execute(self.connection, query)

    def copy(self, query: str, n_columns: int, path: Path, compression: str = "zstd") -> int:
        """Write what `query` selects as Parquet, and return the number of rows.

        Snappy, the default, compresses differently on arm64 than on x86-64; zstd does not.
        """
        group = max(1, GROUP // n_columns // VECTOR) * VECTOR  # wide tables need no more memory
        options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {group}"
        [(count,)] = self.rows(
            f"COPY ({query}) TO {literal(str(path))} ({options}, USE_TMP_FILE false)"
        )
        return int(count)


Engine = DuckDB | Spark


@dataclass(frozen=True)
class Relation:
    """A data set before it is split."""

    on: Engine
    rows: Rows
    dataset: str
    target: str
    unit: str
    kinds: Mapping[str, str]  # of the columns to predict from, as `inputs` has them
    left_out: Mapping[str, str]  # columns that cannot be inputs, and why
    n_rows: int

    def column(self, name: str) -> str:
        """Return a column as SQL."""
        return column(name, self.on)


def column(name: str, on: Engine) -> str:
    return f"t.{on.dialect.identifier(name)}"


def read_parquet(*paths: Path, options: str = "") -> str:
    """Return the rows of files in SQL of DuckDB, as a table called t."""
    return f"read_parquet([{', '.join(literal(str(path)) for path in paths)}]{options}) AS t"


def aggregate(values: Sequence[str], rows: Rows, on: Engine) -> tuple[int, list[Any]]:
    """Return the number of rows, and these aggregates of them.

    An `InputError` says that queries have found different numbers of rows.
    """
    counts, found = [], []
    for start in range(0, max(1, len(values)), on.most):
        part = enumerate(values[start : start + on.most])
        [(count, *row)] = on.rows(
            rows.select(["count(*) AS n", *(f"{value} AS v{index}" for index, value in part)])
        )
        counts.append(count)
        found += row
    check_unchanged(on.name, *counts)
    return counts[0], found


def measure(
    values: Sequence[str], rows: Rows, on: Engine
) -> tuple[int, list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of rows; of each value how often it is there, its least and greatest.

    The ends of a value that is never there are 0.
    """
    asked = [f"{of}({x})" for of in ("count", "min", "max") for x in values]
    n_rows, found = aggregate(asked, rows, on)
    counts, *ends = (found[k * len(values) : (k + 1) * len(values)] for k in range(3))
    low, high = (np.array([x or 0 for x in end], float) for end in ends)
    return n_rows, [*map(int, counts)], low, high


def check_unchanged(name: str, *counts: int) -> None:
    """Refuse a table in which queries have found different numbers of rows."""
    if len({*counts}) > 1:
        found = " and then ".join(f"{count:,}" for count in dict.fromkeys(counts))
        raise InputError(f"{name} changed: it had {found} rows within its ranges; pin its snapshot")
