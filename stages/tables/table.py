"""A table of features and a target: a folder that has `table.json`, and the rows as Parquet.

`table.json` says what the table is called, how its columns became features, and their ranges;
`rows.parquet` has the features, the target, and the lot by which a row is in a fold. Where rows
stay on a server, `table.json` has their SELECT instead. The test table also has `sample.parquet`:
its first rows in the order of the split, and in the columns that they came in.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from nanoarrow import ArrayStream
from numpy.typing import NDArray

from stages.columns import engine
from stages.columns.engine import DuckDB
from stages.columns.inputs import Schema
from stages.columns.sql import double, identifier
from stages.project import files
from stages.tables import spark
from stages.tables.relation import Engine, Relation, Rows, aggregate_by, measure, read_parquet
from stages.tables.split import LOTS, PLACE

NAMES, ROWS, SAMPLE = "table.json", "rows.parquet", "sample.parquet"
BATCHES = 16  # of a block, which are groups of rows
LOT = identifier(PLACE)  # no feature has this name


class Table(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows to learn from or to be judged by; its columns are the features, then the target."""

    schema: Schema
    names: list[str]  # of the columns in Parquet or in the SELECT, as SQL has them
    n_rows: int
    low: list[float]  # range of each column
    high: list[float]
    select: str | None = None  # of rows on a server
    gaps: Mapping[str, int] = {}  # in all rows, those of the other table too, by column
    folder: str = ""  # `read` knows it

    def of(self, schema: Schema) -> "Table":
        """Return the table with some of its features only."""
        kept = [*map(self.schema.columns.index, schema.columns)]
        names, low, high = ([each[j] for j in kept] for each in (self.names, self.low, self.high))
        return replace(self, schema=schema, names=names, low=low, high=high)

    @property
    def rows(self) -> Rows:
        """All rows, as SQL."""
        here = read_parquet(Path(self.folder, ROWS))
        return Rows(f"({self.select}) AS t" if self.select else here)

    def fold(self, folds: int) -> str:
        """Return the number of a row's fold, as SQL."""
        lot = "t.lot" if self.select else LOT
        fold = f"CAST(floor({lot} * {folds} / {double(float(LOTS))}) AS BIGINT)"
        return fold if folds > 1 else "0"

    def ask(self, values: Sequence[str], rows: Rows | None = None) -> list[Any]:
        """Return aggregates over all rows, or over `rows` that SQL makes of them."""
        return self.ask_by("", values, rows)[0][2]

    def ask_by(
        self, group: str, values: Sequence[str], rows: Rows | None = None
    ) -> list[tuple[int, int, list[Any]]]:
        """Return each group that has rows, their number, and aggregates over them."""
        rows, path = rows or self.rows, Path(self.folder, ROWS)
        if self.select:
            on = spark.connect(self.schema.dataset)
            return aggregate_by(group, values, rows, on, self.n_rows)
        with engine.connect(str(path)) as here, files.reading(path):
            return aggregate_by(group, values, rows, here, self.n_rows)

    def blocks(self, fold: str = "0") -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """Yield all rows, in blocks of shape (n_rows, n_columns), and the fold of each."""
        path, columns = Path(self.folder, ROWS), range(len(self.names) + 1)
        with engine.connect(str(path)) as on, files.reading(path):
            query = Rows(read_parquet(path)).select([*self.names, f"CAST({fold} AS BIGINT)"])
            with ArrayStream(on.connection.sql(query)) as stream:
                batches = iter(stream)
                while several := [*islice(batches, BATCHES)]:
                    buffers = ([each.child(j).buffers[1] for each in several] for j in columns)
                    *values, folds = map(np.concatenate, buffers)
                    yield np.array(values).T, folds

    def sample(self) -> tuple[list[tuple[Any, ...]], NDArray[np.float64]]:
        """Return the split's first rows: columns that features come from; features and target."""
        path, kinds = Path(self.folder, SAMPLE), self.schema.kinds
        raw = [_show(identifier(name), kind) for name, kind in kinds.items()]
        with engine.connect(str(path)) as on, files.reading(path):
            rows = on.rows(Rows(read_parquet(path)).select([*raw, *list_values(self.schema, on)]))
            numbers = np.array([row[len(raw) :] for row in rows], float)
        return [row[: len(raw)] for row in rows], numbers


def _show(x: str, kind: str) -> str:
    """Return a column for people: a moment at midnight as its date, and a number as it is."""
    if kind == "date":
        return f"replace(CAST({x} AS VARCHAR), ' 00:00:00+00', '')"
    return x if kind == "number" else f"CAST({x} AS VARCHAR)"


def list_values(schema: Schema, on: Engine) -> list[str]:
    """Return the features, then the target, as SQL."""
    features = (each.sql(on.dialect.column, on.dialect) for each in schema.inputs)
    return [*(f"CAST({x} AS DOUBLE)" for x in features), on.dialect.column(schema.target)]


def name_columns(schema: Schema) -> list[str]:
    """Return names for Parquet, unlike each other to SQL, which sees no case."""
    names: dict[str, str] = {}
    for name in schema.columns:
        while name.lower() in names:
            name += "'"
        names[name.lower()] = identifier(name)
    return [*names.values()]


def write(
    rows: Rows, lot: str, schema: Schema, folder: Path, on: Engine, gaps: Mapping[str, int] = {}
) -> Table:
    """Write features, target and lot of some rows, or if these are on a server, their SELECT."""
    folder.mkdir(exist_ok=True)
    here = isinstance(on, DuckDB)
    names = name_columns(schema) if here else [f"c{j}" for j in range(len(schema.columns))]
    columns = [f"{x} AS {name}" for x, name in zip(list_values(schema, on), names, strict=True)]
    select = rows.select([*columns, f"CAST({lot} AS INTEGER) AS {LOT if here else 'lot'}"])
    if here:
        on.copy(select, len(names) + 1, folder / ROWS)
    written = Rows(read_parquet(folder / ROWS) if here else f"({select}) AS t")
    n_rows, _, low, high = measure(names, written, on)
    ends = low.tolist(), high.tolist()
    table = Table(schema, names, n_rows, *ends, None if here else select, gaps)
    files.save_json(table, folder / NAMES)
    return table


def write_sample(rows: Rows, order: str, schema: Schema, path: Path, found: Relation) -> None:
    """Write the columns that the features come from, and the target."""
    columns = [found.column(name) for name in (*schema.kinds, schema.target)]
    found.on.copy(f"{rows.select(columns)} {order}", len(columns), path)


def read(folder: Path) -> Table:
    """Open the table in `folder`; an `InputError` says that there is none, or it is damaged."""
    return replace(files.load_json(folder / NAMES, Table), folder=folder.as_posix())
