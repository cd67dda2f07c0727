"""A data set as SQL sees it: typed columns, rows, and the engine that has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.columns.engine import DuckDB
from stages.columns.sql import literal
from stages.project.cli import InputError
from stages.tables.spark import Spark

Engine = DuckDB | Spark
DataSet = Mapping[str, NDArray[np.float64]]  # columns; the last is predicted from the others


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
class Relation:
    """A data set before it is split."""

    on: Engine
    rows: Rows
    dataset: str
    target: str
    kinds: Mapping[str, str]  # of the columns to predict from, as `inputs` has them
    left_out: Mapping[str, str]  # columns that cannot be inputs, and why
    n_rows: int
    readings: Mapping[str, str | None] = field(default_factory=dict)  # of texts of CSV
    na: tuple[str, ...] = ()  # texts of CSV that mark a gap
    order: str = ""  # the value of load.order, as SQL

    def column(self, name: str) -> str:
        """Return a column as SQL."""
        return self.on.dialect.column(name)


def read_parquet(*paths: Path) -> str:
    """Return the rows of files in SQL of DuckDB, as a table called t."""
    return f"read_parquet([{', '.join(literal(str(path)) for path in paths)}]) AS t"


def aggregate(values: Sequence[str], rows: Rows, on: Engine) -> tuple[int, list[Any]]:
    """Return the number of rows, which queries must agree on, and these aggregates of them."""
    [(_, count, found)] = aggregate_by("", values, rows, on)
    return count, found


def aggregate_by(
    group: str, values: Sequence[str], rows: Rows, on: Engine, n_rows: int | None = None
) -> list[tuple[int, int, list[Any]]]:
    """Return each group that has rows, their number, and these aggregates of them."""
    asked = [*dict.fromkeys(values)]
    counts = [] if n_rows is None else [n_rows]
    by = f" GROUP BY {group} ORDER BY {group}" if group else ""
    groups: dict[int, list[Any]] = {}
    for start in range(0, max(1, len(asked)), on.most):
        part = enumerate(asked[start : start + on.most])
        columns = [f"{value} AS v{index}" for index, value in part]
        found = on.rows(rows.select([f"{group or 0} AS g", "count(*) AS n", *columns]) + by)
        counts.append(sum(count for _, count, *_ in found))
        for key, count, *row in found:
            groups.setdefault(int(key), [count]).extend(row)
    if len({*counts}) > 1:
        told = " and then ".join(f"{count:,}" for count in dict.fromkeys(counts))
        raise InputError(f"{on.name} changed: it had {told} rows in its ranges; pin its snapshot")
    place = {value: j for j, value in enumerate(asked)}
    places = [place[value] for value in values]
    return [(key, count, [found[j] for j in places]) for key, (count, *found) in groups.items()]


def measure(
    values: Sequence[str], rows: Rows, on: Engine
) -> tuple[int, list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of rows, and of each value its count, least and greatest, or 0."""
    asked = [f"{of}({x})" for of in ("count", "min", "max") for x in values]
    n_rows, found = aggregate(asked, rows, on)
    counts, *ends = (found[k * len(values) : (k + 1) * len(values)] for k in range(3))
    low, high = (np.array([x or 0 for x in end], float) for end in ends)
    return n_rows, [*map(int, counts)], low, high
