"""A table of features and a target: a folder that has its names, and its rows as Parquet.

`table.json` says what the table and its columns are called, `rows.parquet` has the features and
then the target. The test table also has `sample.parquet`: its first rows in the order of the split.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages.project import cli, files
from stages.project.cli import InputError
from stages.tables import arrow, engine
from stages.tables.sql import identifier, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VIEW = "gathered"  # what `load` calls in SQL the data set that it splits
SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a value, so that products are numbers too
OWN_UNIT = "its own unit"  # of a target whose unit nobody has told
NAMES, ROWS, SAMPLE = "table.json", "rows.parquet", "sample.parquet"
VECTOR = 2048  # rows, of which DuckDB's groups are multiples
GROUP = 2**18  # values of a group of rows


@dataclass(frozen=True)
class Schema:
    """What a table is called, and its columns; `unit` is that of the target."""

    dataset: str
    target: str
    unit: str
    features: tuple[str, ...]

    def __post_init__(self) -> None:
        texts = (self.dataset, self.unit, *self.columns)
        if not self.features or not all(isinstance(text, str) for text in texts):
            raise TypeError("its names must be texts")
        if len({*self.columns}) < len(self.columns):
            raise ValueError("columns have the same name")

    @property
    def columns(self) -> tuple[str, ...]:
        """The features, then the target."""
        return (*self.features, self.target)


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from or to be judged by.

    Attributes
    ----------
    schema : Schema
    folder : Path
    n_rows : int
    low, high : ndarray of shape (n_columns,)
        Range of each column: the features, then the target.
    """

    schema: Schema
    folder: Path
    n_rows: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield all rows, in blocks of shape (n_rows, n_columns)."""
        began, seen = time.monotonic(), 0
        for block in _rows(self.folder / ROWS, self.schema):
            cli.progress(seen / self.n_rows, began)
            seen += len(block)
            yield block
        cli.progress(1, began)
        if seen != self.n_rows:
            raise InputError(f"{self.folder / ROWS} changed while it was read")

    def sample(self) -> NDArray[np.float64]:
        """Return the first rows of the split, in its order, of shape (n_rows, n_columns)."""
        path = self.folder / SAMPLE
        rows = np.vstack([np.empty((0, len(self.schema.columns))), *_rows(path, self.schema)])
        if not len(rows) or not np.isfinite(rows).all():
            raise InputError(f"{_made(path)}: it has no rows, or values that are not finite")
        return rows


def group_rows(n_columns: int) -> int:
    """Return how many rows a group has, so that wide tables need no more memory."""
    return max(1, GROUP // n_columns // VECTOR) * VECTOR


def write_names(schema: Schema, folder: Path) -> None:
    files.save_json(asdict(schema), folder / NAMES)


def write_rows(rest: str, schema: Schema, path: Path, connection: "DuckDBPyConnection") -> int:
    """Write the columns of `schema` from the data set; `rest` is what follows FROM VIEW."""
    columns = ", ".join(f"{VIEW}.{identifier(name)}" for name in schema.columns)
    return copy(f"SELECT {columns} FROM {VIEW} {rest}", len(schema.columns), path, connection)


def copy(
    query: str,
    n_columns: int,
    path: Path,
    connection: "DuckDBPyConnection",
    compression: str = "zstd",
) -> int:
    """Write what `query` selects as Parquet, and return the number of rows.

    DuckDB's Snappy, its default, compresses differently on arm64 than on x86-64; its zstd does not.
    """
    options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {group_rows(n_columns)}"
    [(count,)] = engine.attended(
        connection, f"COPY ({query}) TO {literal(str(path))} ({options}, USE_TMP_FILE false)"
    )
    return int(count)


def read(folder: Path, expected: Schema | None = None) -> Table:
    """Open the table in `folder`.

    Parameters
    ----------
    folder : Path
    expected : Schema, optional
        What it must be called, and the features to read, which need not be all.

    Raises
    ------
    InputError
        There is none, it is damaged, or it is another one.
    """
    path = folder / NAMES
    document = files.load_json(path)
    with files.reading(path):
        schema = Schema(**document | {"features": tuple(document["features"])})
    rows = files.existing(folder / ROWS)
    with engine.connected(_made(rows)) as connection, files.reading(rows):
        found = connection.read_parquet(str(rows))
        if found.columns != [*schema.columns] or {*map(str, found.types)} != {"DOUBLE"}:
            raise ValueError("its columns are not those that were written")
        if expected:
            same = tuple(name for name in schema.features if name in expected.features)
            if (replace(schema, features=expected.features), same) != (expected, expected.features):
                raise InputError(f"{folder} is another table than that of {expected.dataset}")
            schema = expected
        names = [*map(identifier, schema.columns)]
        values = [f"{of}({name})" for of in ("count", "min", "max") for name in names]
        [(n_rows, *row)] = connection.execute(
            f"SELECT count(*), {', '.join(values)} FROM read_parquet({literal(str(rows))})"
        ).fetchall()
        count, low, high = np.array(row, float).reshape(3, -1)
        largest = np.maximum(-low, high).max()
        if not n_rows or not largest <= LARGEST or count.min() < n_rows:
            raise ValueError("it has no rows, or values that are too large or no numbers")
    return Table(schema, folder, n_rows, low, high)


def _made(path: Path) -> str:
    """Name a file for messages."""
    return f"{path}, which `dvc repro` makes"


def _rows(path: Path, schema: Schema) -> Iterator[NDArray[np.float64]]:
    files.existing(path)
    with engine.connected(_made(path)) as connection, engine.unchanged(path):
        columns = ", ".join(map(identifier, schema.columns))
        found = connection.sql(f"SELECT {columns} FROM read_parquet({literal(str(path))})")
        yield from arrow.blocks(found, _made(path))
