"""A table of features and a target: a folder that has its names, and its rows as Parquet.

`table.json` says what the table is called and how its columns became features, `rows.parquet` has
the features and then the target. Where rows stay on a server, `table.json` has their SELECT
instead. The test table also has `sample.parquet`: its first rows in the order of the split, and in
the columns that they came in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stages.columns import engine
from stages.columns.engine import DuckDB
from stages.columns.inputs import Schema
from stages.columns.sql import identifier, literal
from stages.project import cli, files
from stages.project.cli import InputError
from stages.project.typed import convert
from stages.tables import spark
from stages.tables.spark import Spark

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Engine = DuckDB | Spark  # what runs SQL over the view VIEW
VIEW = "gathered"  # what `load` calls in SQL the data set that it splits
SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a value, so that products are numbers too
OWN_UNIT = "its own unit"  # of a target whose unit nobody has told
NAMES, ROWS, SAMPLE = "table.json", "rows.parquet", "sample.parquet"
VECTOR = 2048  # rows, of which DuckDB's groups are multiples
GROUP, BLOCK = 2**18, 2**20  # values of a group of rows, and of a block
WIDE, WIDEST = 101, 300  # columns of a table on a server: queries grow as their square


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from or to be judged by; its columns are the features, then the target."""

    schema: Schema
    folder: Path
    names: list[str]  # of the columns, as SQL has them
    n_rows: int
    low: NDArray[np.float64]  # range of each column, of shape (n_columns,)
    high: NDArray[np.float64]
    rows: str = ""  # of a table on a server: what follows FROM to have columns of these names

    def asked(self, values: Sequence[str], rows: str) -> list[Any]:
        """Return aggregates over the rows on a server, or over `rows` that SQL makes of them."""
        on = spark.connected(self.schema.dataset)
        n_rows, found = aggregates(on, values, f"FROM {rows}")
        if n_rows != self.n_rows:
            raise engine.changed(on.name, self.n_rows, n_rows)
        return found

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield all rows, in blocks of shape (n_rows, n_columns)."""
        path = files.existing(self.folder / ROWS)
        query = f"SELECT {', '.join(self.names)} FROM {_parquet(path, 'file_row_number = true')}"
        step = max(1, BLOCK // len(self.names))
        with engine.connect(_made(path)) as connection, engine.unchanged(path):
            for start in range(0, self.n_rows, step):
                rows = f"file_row_number BETWEEN {start} AND {start + step - 1}"
                found = [*connection.execute(f"{query} WHERE {rows}").fetchnumpy().values()]
                whole = len(found[0]) == min(step, self.n_rows - start)
                if not whole or any(map(np.ma.isMaskedArray, found)):  # where it has NULL
                    raise InputError(f"{path} changed while it was read")
                yield np.array(found).T

    def sample(self) -> tuple[list[tuple[Any, ...]], NDArray[np.float64]]:
        """Return the first rows of the split, in its order.

        First the columns that the features come from, a tuple for each row, then features and
        target, of shape (n_rows, n_columns).
        """
        path, kinds = files.existing(self.folder / SAMPLE), self.schema.kinds
        raw = [_shown(identifier(name), kind) for name, kind in kinds.items()]
        with engine.connect(_made(path)) as connection:
            on = DuckDB(_made(path), connection)
            columns = ", ".join([*raw, *_values(self.schema, on)])
            rows = on.rows(f"SELECT {columns} FROM {_parquet(path)} AS {VIEW}")
        values = np.array([row[len(raw) :] for row in rows], float)
        if not len(rows) or not np.isfinite(values).all():
            raise InputError(f"{_made(path)}: it has no rows, or values that are not finite")
        return [row[: len(raw)] for row in rows], values


def column(on: Engine, name: str) -> str:
    """Return a column of the view VIEW as SQL."""
    return f"{VIEW}.{on.dialect.identifier(name)}"


def aggregates(on: Engine, values: Sequence[str], rest: str) -> tuple[int, list[Any]]:
    """Return the number of rows and these aggregates; `rest` begins with FROM."""
    counts, found = set(), []
    for start in range(0, len(values), on.most):
        part = enumerate(values[start : start + on.most])
        columns = ", ".join(f"{value} AS v{index}" for index, value in part)
        [(count, *row)] = on.rows(f"SELECT count(*) AS n, {columns} {rest}")
        counts.add(count)
        found += row
    if len(counts) > 1:
        raise engine.changed(on.name, *counts)
    return counts.pop(), found


def ranges(values: Sequence[str], rest: str, on: Engine) -> tuple[int, NDArray[np.float64]]:
    """Return the number of rows; of each value how often it is there, its least and greatest."""
    asked = [f"{of}({x})" for of in ("count", "min", "max") for x in values]
    n_rows, found = aggregates(on, asked, rest)
    return n_rows, np.array(found, float).reshape(3, -1)


def _shown(x: str, kind: str) -> str:
    """Return a column for people: a moment at midnight as its date, and a number as it is."""
    if kind == "date":
        return f"replace(CAST({x} AS VARCHAR), ' 00:00:00+00', '')"
    return x if kind == "number" else f"CAST({x} AS VARCHAR)"


def _values(schema: Schema, on: Engine) -> list[str]:
    """Return the features, then the target, as SQL over the view VIEW."""
    features = (each.sql(column(on, each.column), on.dialect) for each in schema.inputs)
    return [*(f"CAST({x} AS DOUBLE)" for x in features), column(on, schema.target)]


def stored(schema: Schema) -> list[str]:
    """Return the names of the columns in Parquet, unlike each other to SQL, which sees no case."""
    names: dict[str, str] = {}
    for name in schema.columns:
        while name.lower() in names:
            name += "'"
        names[name.lower()] = identifier(name)
    return [*names.values()]


def write(rest: str, schema: Schema, folder: Path, on: Engine) -> int:
    """Write the table, and return the number of rows; `rest` is what follows FROM VIEW.

    Features and target are written, or where the rows are on a server, how it finds them.
    """
    values = _values(schema, on)
    names = stored(schema) if isinstance(on, DuckDB) else [f"c{j}" for j in range(len(values))]
    columns = ", ".join(f"{x} AS {name}" for x, name in zip(values, names, strict=True))
    query, document = f"SELECT {columns} FROM {VIEW} {rest}", msgspec.to_builtins(schema)
    if isinstance(on, DuckDB):
        n_rows = copy(query, len(names), folder / ROWS, on.connection)
    else:
        takes = f"{on.name}: {len(names) - 1} features make {len(names) ** 2 // 24:,} queries"
        if len(names) > WIDEST:
            raise InputError(
                f"{takes} over all rows; name less than {WIDEST} of them in load.features"
            )
        if len(names) > WIDE:
            cli.say(f"load: {takes} over all rows")
        query = on.view + query
        with files.reading(Path(on.name)):
            n_rows, *ends = measured(names, f"({query}) AS t", replace(on, view=""))
        low, high = (end.tolist() for end in ends)
        if n_rows:
            document |= {"rows": {"select": query, "n_rows": n_rows, "low": low, "high": high}}
    files.save_json(document, folder / NAMES)
    return n_rows


def write_sample(rest: str, schema: Schema, path: Path, on: Engine) -> None:
    """Write the columns that the features come from, and the target."""
    columns = [column(on, name) for name in (*schema.kinds, schema.target)]
    query = f"SELECT {', '.join(columns)} FROM {VIEW} {rest}"
    if isinstance(on, DuckDB):
        copy(query, len(columns), path, on.connection)
    else:
        with engine.connect(on.name) as connection:
            connection.register(VIEW, on.arrow(query))
            copy(f"FROM {VIEW}", len(columns), path, connection)


def measured(
    names: Sequence[str], source: str, on: Engine
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of rows and the ranges of columns, which must all hold numbers."""
    n_rows, (count, low, high) = ranges(names, f"FROM {source}", on)
    if n_rows and not (np.maximum(-low, high).max() <= LARGEST and count.min() == n_rows):
        raise ValueError("it has values that are too large or no numbers")
    return n_rows, low, high


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
    group = max(1, GROUP // n_columns // VECTOR) * VECTOR  # wide tables need no more memory
    options = f"FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {group}"
    [(count,)] = engine.execute(
        connection, f"COPY ({query}) TO {literal(str(path))} ({options}, USE_TMP_FILE false)"
    )
    return int(count)


def read(folder: Path, expected: Schema | None = None) -> Table:
    """Open the table in `folder`.

    With `expected` it must be this one, with the features to read, which need not be all. An
    `InputError` says that there is none, that it is damaged, or another one.
    """
    path = folder / NAMES
    document = files.load_json(path, dict[str, Any])
    with files.reading(path):
        far = document.pop("rows", None)
        schema = convert(document, Schema)
        inputs = expected.inputs if expected else schema.inputs
        kept = [j for j, each in enumerate(schema.inputs) if each in inputs]
        if expected and (len(kept) < len(inputs) or schema.of(kept) != expected):
            raise InputError(f"{folder} is another table than that of {expected.dataset}")
        kept.append(len(schema.inputs))
        if far:
            low, high = (np.array(far[end], float)[kept] for end in ("low", "high"))
            names, rows = [f"c{j}" for j in kept], f"({far['select']}) AS t"
            return Table(expected or schema, folder, names, far["n_rows"], low, high, rows)
    path = files.existing(folder / ROWS)
    with engine.connect(_made(path)) as connection, files.reading(path):
        found, names = connection.read_parquet(str(path)), stored(schema)
        if [*map(identifier, found.columns)] != names or {*map(str, found.types)} != {"DOUBLE"}:
            raise ValueError("its columns are not those that were written")
        names = [names[j] for j in kept]
        n_rows, low, high = measured(names, _parquet(path), DuckDB(_made(path), connection))
        if not n_rows:
            raise ValueError("it has no rows")
    return Table(expected or schema, folder, names, n_rows, low, high)


def _made(path: Path) -> str:
    """Name a file for messages."""
    return f"{path}, which `dvc repro` makes"


def _parquet(path: Path, *options: str) -> str:
    return f"read_parquet({', '.join([literal(str(path)), *options])})"
