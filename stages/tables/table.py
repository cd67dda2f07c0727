"""A table of features and a target: a folder that has its names, and its rows as Parquet.

`table.json` says what the table is called and how its columns became features, `rows.parquet` has
the features and then the target. The test table also has `sample.parquet`: its first rows in the
order of the split, and in the columns that they came in.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.project import cli, files
from stages.project.cli import InputError
from stages.tables import arrow, engine
from stages.tables.inputs import Schema
from stages.tables.sql import identifier, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VIEW = "gathered"  # what `load` calls in SQL the data set that it splits
SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a value, so that products are numbers too
OWN_UNIT = "its own unit"  # of a target whose unit nobody has told
NAMES, ROWS, SAMPLE = "table.json", "rows.parquet", "sample.parquet"
VECTOR = 2048  # rows, of which DuckDB's groups are multiples
GROUP = 2**18  # values of a group of rows


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from or to be judged by.

    Attributes
    ----------
    schema : Schema
    folder : Path
    names : list of str
        Of the columns in Parquet, as SQL has them.
    n_rows : int
    low, high : ndarray of shape (n_columns,)
        Range of each column: the features, then the target.
    """

    schema: Schema
    folder: Path
    names: list[str]
    n_rows: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield all rows, in blocks of shape (n_rows, n_columns)."""
        began, seen = time.monotonic(), 0
        for block in _rows(self.folder / ROWS, self.names):
            cli.progress(seen / self.n_rows, began)
            seen += len(block)
            yield block
        cli.progress(1, began)
        if seen != self.n_rows:
            raise InputError(f"{self.folder / ROWS} changed while it was read")

    def sample(self) -> tuple[list[tuple[Any, ...]], NDArray[np.float64]]:
        """Return the first rows of the split, in its order.

        Returns
        -------
        raw : list of tuple
            The columns that the features come from.
        values : ndarray of shape (n_rows, n_columns)
        """
        path = files.existing(self.folder / SAMPLE)
        schema, n_raw = self.schema, len(self.schema.kinds)
        columns = [
            *(shown(identifier(name), kind) for name, kind in schema.kinds.items()),
            *features_of(schema, ""),
            identifier(schema.target),
        ]
        with engine.connected(_made(path)) as connection:
            source = f"read_parquet({literal(str(path))})"
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {source}").fetchall()
        values = np.array([row[n_raw:] for row in rows], float)
        if not len(rows) or not np.isfinite(values).all():
            raise InputError(f"{_made(path)}: it has no rows, or values that are not finite")
        return [row[:n_raw] for row in rows], values


def shown(x: str, kind: str) -> str:
    """Return a column for people: a moment at midnight as its date, and a number as it is."""
    if kind == "date":
        return f"replace(CAST({x} AS VARCHAR), ' 00:00:00+00', '')"
    return x if kind == "number" else f"CAST({x} AS VARCHAR)"


def group_rows(n_columns: int) -> int:
    """Return how many rows a group has, so that wide tables need no more memory."""
    return max(1, GROUP // n_columns // VECTOR) * VECTOR


def write_names(schema: Schema, folder: Path) -> None:
    files.save_json(schema.to_json(), folder / NAMES)


def features_of(schema: Schema, prefix: str = f"{VIEW}.") -> list[str]:
    """Return the features as SQL."""
    return [
        f"CAST({each.sql(prefix + identifier(each.column))} AS DOUBLE)" for each in schema.inputs
    ]


def stored(schema: Schema) -> list[str]:
    """Return the names of the columns in Parquet, unlike each other to SQL, which sees no case."""
    names: dict[str, str] = {}
    for name in schema.columns:
        while name.lower() in names:
            name += "'"
        names[name.lower()] = identifier(name)
    return [*names.values()]


def write_rows(rest: str, schema: Schema, path: Path, connection: "DuckDBPyConnection") -> int:
    """Write features and target of the data set; `rest` is what follows FROM VIEW."""
    values = [*features_of(schema), f"{VIEW}.{identifier(schema.target)}"]
    columns = [f"{x} AS {name}" for x, name in zip(values, stored(schema), strict=True)]
    return copy(f"SELECT {', '.join(columns)} FROM {VIEW} {rest}", len(columns), path, connection)


def write_sample(rest: str, schema: Schema, path: Path, connection: "DuckDBPyConnection") -> None:
    """Write the columns that the features come from, and the target."""
    columns = [f"{VIEW}.{identifier(name)}" for name in (*schema.kinds, schema.target)]
    copy(f"SELECT {', '.join(columns)} FROM {VIEW} {rest}", len(columns), path, connection)


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
        What it must be, with the features to read, which need not be all.

    Raises
    ------
    InputError
        There is none, it is damaged, or it is another one.
    """
    path = folder / NAMES
    document = files.load_json(path)
    with files.reading(path):
        schema = Schema.from_json(document)
    rows = files.existing(folder / ROWS)
    with engine.connected(_made(rows)) as connection, files.reading(rows):
        found = connection.read_parquet(str(rows))
        names = stored(schema)
        if [*map(identifier, found.columns)] != names or {*map(str, found.types)} != {"DOUBLE"}:
            raise ValueError("its columns are not those that were written")
        if expected:
            kept = [j for j, each in enumerate(schema.inputs) if each in expected.inputs]
            if len(kept) < len(expected.inputs) or schema.of(kept) != expected:
                raise InputError(f"{folder} is another table than that of {expected.dataset}")
            schema, names = expected, [names[j] for j in (*kept, -1)]
        values = [f"{of}({name})" for of in ("count", "min", "max") for name in names]
        [(n_rows, *row)] = connection.execute(
            f"SELECT count(*), {', '.join(values)} FROM read_parquet({literal(str(rows))})"
        ).fetchall()
        count, low, high = np.array(row, float).reshape(3, -1)
        largest = np.maximum(-low, high).max()
        if not n_rows or not largest <= LARGEST or count.min() < n_rows:
            raise ValueError("it has no rows, or values that are too large or no numbers")
    return Table(schema, folder, names, n_rows, low, high)


def _made(path: Path) -> str:
    """Name a file for messages."""
    return f"{path}, which `dvc repro` makes"


def _rows(path: Path, names: Sequence[str]) -> Iterator[NDArray[np.float64]]:
    files.existing(path)
    with engine.connected(_made(path)) as connection, engine.unchanged(path):
        found = connection.sql(f"SELECT {', '.join(names)} FROM read_parquet({literal(str(path))})")
        yield from arrow.blocks(found, _made(path))
