"""A table of features and a target: a folder that has its names, and its rows as Parquet.

`table.json` says what the table is called, how its columns became features, and their ranges;
`rows.parquet` has the features and then the target. Where rows stay on a server, `table.json` has
their SELECT instead. The test table also has `sample.parquet`: its first rows in the order of the
split, and in the columns that they came in.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stages.columns import engine
from stages.columns.inputs import Schema
from stages.columns.sql import identifier
from stages.project import cli, files
from stages.project.cli import InputError
from stages.tables import spark
from stages.tables.relation import (
    DuckDB,
    Engine,
    Relation,
    Rows,
    aggregate,
    check_unchanged,
    column,
    measure,
    read_parquet,
)

NAMES, ROWS, SAMPLE = "table.json", "rows.parquet", "sample.parquet"
BLOCK = 2**20  # values of a block of rows
WIDE, WIDEST = 101, 300  # columns of a table on a server: queries grow as their square


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `table.json` holds."""

    schema: Schema
    n_rows: int
    low: list[float]  # range of each column, the target last
    high: list[float]
    select: str | None = None  # of rows on a server


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from or to be judged by; its columns are the features, then the target."""

    schema: Schema
    folder: Path
    names: Sequence[str]  # of the columns, as SQL has them
    n_rows: int
    low: NDArray[np.float64]  # range of each column, of shape (n_columns,)
    high: NDArray[np.float64]
    select: str | None = None  # of rows on a server

    def of(self, schema: Schema) -> "Table":
        """Return the table with some of its features only."""
        names = self.schema.features
        kept = [*map(names.index, schema.features), len(names)]
        columns = [self.names[j] for j in kept]
        return replace(self, schema=schema, names=columns, low=self.low[kept], high=self.high[kept])

    @property
    def rows(self) -> Rows:
        """All rows, as SQL."""
        here = read_parquet(self.folder / ROWS)
        return Rows(f"({self.select}) AS t" if self.select else here)

    @contextmanager
    def _connect(self) -> Iterator[Engine]:
        """Yield the engine that has the rows."""
        if self.select:
            yield spark.connect(self.schema.dataset)
            return
        path = self.folder / ROWS
        with engine.connect(str(path)) as connection, files.reading(path):
            yield DuckDB(str(path), connection)

    def ask(self, values: Sequence[str], rows: Rows | None = None) -> list[Any]:
        """Return aggregates over all rows, or over `rows` that SQL makes of them."""
        with self._connect() as on:
            n_rows, found = aggregate(values, rows or self.rows, on)
            check_unchanged(on.name, self.n_rows, n_rows)
        return found

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield all rows, in blocks of shape (n_rows, n_columns)."""
        path = self.folder / ROWS
        source = read_parquet(path, options=", file_row_number = true")
        step = max(1, BLOCK // len(self.names))
        with (
            engine.connect(str(path)) as connection,
            files.reading(path),
            engine.unchanged(path),
        ):
            for start in range(0, self.n_rows, step):
                where = f"file_row_number BETWEEN {start} AND {start + step - 1}"
                query = Rows(source, where).select(self.names)
                found = [*connection.execute(query).fetchnumpy().values()]
                whole = len(found[0]) == min(step, self.n_rows - start)
                if not whole or any(map(np.ma.isMaskedArray, found)):  # where it has NULL
                    raise InputError(f"{path} changed while it was read")
                yield np.array(found).T

    def sample(self) -> tuple[list[tuple[Any, ...]], NDArray[np.float64]]:
        """Return the first rows of the split, in its order.

        First the columns that the features come from, a tuple for each row, then features and
        target, of shape (n_rows, n_columns).
        """
        path, kinds = self.folder / SAMPLE, self.schema.kinds
        raw = [_show(identifier(name), kind) for name, kind in kinds.items()]
        with engine.connect(str(path)) as connection, files.reading(path):
            on = DuckDB(str(path), connection)
            values = feature_columns(self.schema, on)
            rows = on.rows(Rows(read_parquet(path)).select([*raw, *values]))
            numbers = np.array([row[len(raw) :] for row in rows], float)
        return [row[: len(raw)] for row in rows], numbers


def _show(x: str, kind: str) -> str:
    """Return a column for people: a moment at midnight as its date, and a number as it is."""
    if kind == "date":
        return f"replace(CAST({x} AS VARCHAR), ' 00:00:00+00', '')"
    return x if kind == "number" else f"CAST({x} AS VARCHAR)"


def feature_columns(schema: Schema, on: Engine) -> list[str]:
    """Return the features, then the target, as SQL."""
    features = (each.sql(column(each.column, on), on.dialect) for each in schema.inputs)
    return [*(f"CAST({x} AS DOUBLE)" for x in features), column(schema.target, on)]


def stored_names(schema: Schema) -> list[str]:
    """Return the names of the columns in Parquet, unlike each other to SQL, which sees no case."""
    names: dict[str, str] = {}
    for name in schema.columns:
        while name.lower() in names:
            name += "'"
        names[name.lower()] = identifier(name)
    return [*names.values()]


def write(rows: Rows, schema: Schema, folder: Path, on: Engine) -> Document:
    """Write features and target of some rows, or where these are on a server, their SELECT."""
    values, select = feature_columns(schema, on), None
    folder.mkdir(exist_ok=True)
    if isinstance(on, DuckDB):
        names = stored_names(schema)
        on.copy(_named(values, names, rows), len(names), folder / ROWS)
        there = Rows(read_parquet(folder / ROWS))
    else:
        names = [f"c{j}" for j in range(len(values))]
        takes = f"{on.name}: {len(names) - 1} features make {len(names) ** 2 // 24:,} queries"
        if len(names) > WIDEST:
            fewer = f"name less than {WIDEST} of them in load.features"
            raise InputError(f"{takes} over all rows; {fewer}")
        if len(names) > WIDE:
            cli.say(f"load: {takes} over all rows")
        select = _named(values, names, rows)
        there = Rows(f"({select}) AS t")
    n_rows, _, low, high = measure(names, there, on)
    document = Document(schema, n_rows, low.tolist(), high.tolist(), select)
    files.save_json(document, folder / NAMES)
    return document


def _named(values: Sequence[str], names: Sequence[str], rows: Rows) -> str:
    return rows.select([f"{x} AS {name}" for x, name in zip(values, names, strict=True)])


def write_sample(rows: Rows, order: str, schema: Schema, path: Path, found: Relation) -> None:
    """Write the columns that the features come from, and the target."""
    columns = [found.column(name) for name in (*schema.kinds, schema.target)]
    found.on.copy(f"{rows.select(columns)} {order}", len(columns), path)


def read(folder: Path) -> Table:
    """Open the table in `folder`; an `InputError` says that there is none, or it is damaged."""
    document = files.load_json(folder / NAMES, Document)
    schema = document.schema
    n_columns = len(schema.columns)
    names = [f"c{j}" for j in range(n_columns)] if document.select else stored_names(schema)
    ends = np.array(document.low), np.array(document.high)
    return Table(schema, folder, names, document.n_rows, *ends, document.select)
