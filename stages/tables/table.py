"""A table of features and a target, kept as Parquet by DuckDB."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from stages.project.cli import InputError
from stages.project.files import replacing

OWN_UNIT = "its own unit"  # of a target whose unit nobody has told


@dataclass(frozen=True, eq=False)
class Table:
    """Rows to learn from or to be judged by.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features, in the units of the data set.
    y : ndarray of shape (n_rows,)
        Target, in `unit`.
    features : tuple of str
        Names of the columns of `X`.
    target, unit, dataset : str
        Name of `y`, its unit, and the data set both come from.
    """

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    features: tuple[str, ...]
    target: str
    unit: str
    dataset: str


def write(table: Table, path: Path) -> None:
    """Write `table` as Parquet: the features, then the target; what it is called as metadata."""
    columns = dict(zip(table.features, table.X.T, strict=True)) | {table.target: table.y}
    with replacing(path) as part, duckdb.connect() as connection:
        connection.register("columns", columns)
        try:
            connection.execute(
                "COPY columns TO ? (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false,"
                " KV_METADATA {columns: ?, target: ?, unit: ?, dataset: ?})",
                [str(part), json.dumps(list(columns)), table.target, table.unit, table.dataset],
            )
        except duckdb.IOException as error:
            raise InputError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error


def read(path: Path) -> Table:
    """Read what `write` wrote.

    Raises
    ------
    InputError
        There is no such file, or it is damaged.
    """
    try:
        with duckdb.connect() as connection:
            relation = connection.read_parquet(str(path))
            metadata = dict(
                connection.execute(
                    "SELECT decode(key), decode(value) FROM parquet_kv_metadata(?)", [str(path)]
                ).fetchall()
            )
            names = json.loads(metadata.pop("columns"))
            if relation.columns != names or {*map(str, relation.types)} != {"DOUBLE"}:
                raise ValueError("its columns are not those that were written")
            values = columns(relation, names)
        if not values.size or not np.isfinite(values).all():
            raise ValueError("it has no rows, or values that are not finite")
        return Table(values[:-1].T, values[-1], tuple(names[:-1]), **metadata)
    except (duckdb.Error, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read, `dvc repro` makes it: {reason}") from error


def columns(relation: duckdb.DuckDBPyRelation, names: Sequence[str]) -> NDArray[np.float64]:
    """Fetch columns of numbers, as an ndarray of shape (n_columns, n_rows).

    One at a time, for DuckDB holds all of a result once more as it hands it over.
    """
    values = np.empty((len(names), len(relation)))
    for row, name in zip(values, names, strict=True):
        row[:] = np.ma.filled(relation[name].fetchnumpy()[name], np.nan)  # NULL is masked
    return values
