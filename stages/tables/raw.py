"""Gather a table of your own from `data/raw`: numbers, in CSV or Parquet.

Every file is read once, into Parquet in a temporary folder. What is not a number becomes NULL
there, and is looked up again for the message.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.project import cli
from stages.project.cli import InputError, plural
from stages.project.files import SAMPLE_COLUMNS
from stages.project.params import Load
from stages.project.text import listed, named
from stages.tables import engine, source, sql, table
from stages.tables.source import NUMERIC, Source
from stages.tables.table import LARGEST, SMALLEST, VIEW, Schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = Path("data/raw")  # named in dvc.yaml, so that DVC sees what changes here
KEY = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT$|U?INTEGER$|UUID$|VARCHAR$")  # types of a key


def gather(config: Load, scratch: Path, connection: "DuckDBPyConnection") -> tuple[Schema, int]:
    """Make the files that `config.dataset` matches, one below the other, the view VIEW.

    As `datasets.gather` does, but that the target must be named. If the features are not, all other
    columns that hold numbers are features, and those left out are named on standard error.

    Raises
    ------
    InputError
        There is no such file or column, a value is not a number, or a key names no single row.
    """
    pattern, keys = config.dataset, config.keys
    paths = find(pattern)
    connection.execute(f"SET temp_directory = {sql.literal(str(scratch))}")
    with opened(paths[0], [config.target] if config.target else [], connection) as first:
        features, target = chosen(first, config)
    names = [*features, target]
    parts = [
        staged(path, names, keys, scratch / f"{number}.parquet", connection)
        for number, path in enumerate(paths)
    ]
    listing = ", ".join(sql.literal(str(part.stored)) for part in parts)
    connection.execute(f"CREATE TEMP VIEW {VIEW} AS FROM read_parquet([{listing}])")
    counts = ", ".join(f"count({sql.identifier(name)})" for name in names)
    [(n_rows, *found)] = connection.execute(f"SELECT count(*), {counts} FROM {VIEW}").fetchall()
    numbers = dict(zip(names, found, strict=True))
    if not n_rows:
        raise InputError(f"{pattern} has no rows")
    if config.features is None:
        features = [name for name in features if numbers[name]]
        if left_out := [name for name in first.columns if name not in (*features, *keys, target)]:
            cli.say(f"load: {pattern}: left out, as they hold no numbers: {listed(left_out)}")
    check_features(features, target, pattern)
    for name in (*features, target):
        if numbers[name] < n_rows:
            hint = "" if name == target else "; load.features can leave it out"
            raise InputError(complaint(name, parts, connection) + hint)
    check_keys(keys, pattern, parts, connection)
    return Schema(pattern, target, config.unit or table.OWN_UNIT, tuple(features)), n_rows


def find(pattern: str) -> list[Path]:
    """Return the files that match, in the order of their names, but for those of git and DVC."""
    try:
        paths = [Path(pattern)] if Path(pattern).exists() else list(Path().glob(pattern))
    except ValueError as error:
        raise InputError(f"load.dataset: {pattern}: {error}") from error
    files = sorted(p for p in paths if p.is_file() and p.name[0] != "." and p.suffix != ".dvc")
    if not files:
        raise InputError(f"load.dataset: no file matches {pattern}")
    return files


@contextmanager
def opened(path: Path, names: Sequence[str], connection: "DuckDBPyConnection") -> Iterator[Source]:
    """Open a file, which must have columns of these names."""
    name = str(path)
    with (
        path.open("rb") as file,
        engine.explaining(name),
        source.opened(file.fileno(), name, names, connection) as it,
    ):
        if it.kind == "json":
            raise InputError(f"{name} is JSON, must be CSV or Parquet")
        yield it


def missing(name: str, where: Source) -> str:
    return f"{where.name}: column {named(name)} missing; found {listed(where.columns)}"


def chosen(first: Source, config: Load) -> tuple[Sequence[str], str]:
    """Return the features, all columns that may hold numbers if none are named, and the target."""
    target, keys = config.target, config.keys
    if target is None:
        raise InputError(
            f"load.target must name the column of {first.name} to predict, one of"
            f" {listed(first.columns)}"
        )
    for name in keys:
        if name not in first.columns:
            raise InputError(missing(name, first))
    features = config.features or [  # by their type or, as in CSV, as text
        name
        for name, kind in zip(first.columns, first.types, strict=True)
        if name not in ("", target, *keys) and NUMERIC.match(kind)
    ]
    check_names([*features, *keys, target], first.name)
    return features, target


def check_features(features: Sequence[str], target: str, pattern: str) -> None:
    """Refuse a table without features, and names that the output has for something else."""
    if not features:
        raise InputError(f"{pattern}: no column but {target} holds numbers")
    for name in features:
        if name in (*SAMPLE_COLUMNS, "prediction"):
            raise InputError(
                f"{pattern}: no feature can be called {name}, which is a column of the output:"
                " rename it, or list others in load.features"
            )


def check_names(names: Sequence[str], file: str) -> None:
    """Refuse names that do not print, or that SQL takes for one."""
    seen: dict[str, str] = {}
    for name in names:
        if not name.isprintable():
            raise InputError(f"{file}: {name!r} cannot be the name of a column, it does not print")
        twin = seen.setdefault(name.lower(), name)
        if twin != name:
            raise InputError(
                f"{file}: {twin} and {name} differ in case alone, which SQL does not see:"
                " rename one, or leave it out of load.features"
            )


@dataclass(frozen=True)
class Part:
    """A file, and where its rows are stored as numbers."""

    path: Path
    stored: Path


def staged(
    path: Path,
    names: Sequence[str],
    keys: Sequence[str],
    stored: Path,
    connection: "DuckDBPyConnection",
) -> Part:
    """Store the columns `names` of a file as numbers, and `keys` as text.

    What is not a number, or not of a size from 1e-100 to 1e100, becomes NULL, as does an empty key.
    """
    with engine.unchanged(path), opened(path, names, connection) as it:
        values = []
        for name in names:
            position = it.columns.index(name)
            x = sql.number(f"c{position}", it.types[position])
            size = f"{x} = 0 OR abs({x}) BETWEEN {SMALLEST} AND {LARGEST}"
            values.append(f"CASE WHEN {size} THEN {x} END AS {sql.identifier(name)}")
        for name in keys:
            if name not in it.columns:
                raise InputError(missing(name, it))
            position = it.columns.index(name)
            if not KEY.match(it.types[position]):
                raise InputError(
                    f"{it.name}: load.key: {named(name)} must be text or whole numbers, its type is"
                    f" {it.types[position]}"
                )
            values.append(f"nullif(CAST(c{position} AS VARCHAR), '') AS {sql.identifier(name)}")
        query = f"SELECT {', '.join(values)} FROM {it.relation(skip=False)}"
        table.copy(query, len(values), stored, connection, compression="uncompressed")
    return Part(path, stored)


def check_keys(
    keys: Sequence[str], pattern: str, parts: Sequence[Part], connection: "DuckDBPyConnection"
) -> None:
    """Refuse keys that are empty, or that more than one row has."""
    for name in keys:
        [(empty,)] = connection.execute(
            f"SELECT count(*) FROM {VIEW} WHERE {sql.identifier(name)} IS NULL"
        ).fetchall()
        if empty:
            raise InputError(complaint(name, parts, connection, "must name the row"))
    if keys:
        columns = ", ".join(map(sql.identifier, keys))
        repeated = engine.attended(
            connection,
            f"SELECT {columns}, count(*), count(*) OVER () FROM {VIEW} GROUP BY {columns}"
            f" HAVING count(*) > 1 ORDER BY {columns} LIMIT 1",
        )
        for *values, rows, more in repeated:
            pairs = zip(map(named, keys), map(engine.cell, values), strict=True)
            raise InputError(
                f"{pattern}: load.key must be unique, {rows:,} rows have"
                f" {', '.join(f'{name} {value}' for name, value in pairs)}"
                f" ({plural(more, 'such key')} in all)"
            )


def complaint(
    name: str, parts: Sequence[Part], connection: "DuckDBPyConnection", rule: str = ""
) -> str:
    """Say which value of a column is the first that is not as it must be, and how many are."""
    query = (
        "SELECT min(row), count(*) FROM (SELECT row_number() OVER () - 1 AS row,"
        f" {sql.identifier(name)} AS x FROM read_parquet(?)) WHERE x IS NULL"
    )
    found = [(part, *connection.execute(query, [str(part.stored)]).fetchall()[0]) for part in parts]
    bad = sum(count for _, _, count in found)
    part, row, _ = next(each for each in found if each[2])
    with opened(part.path, [], connection) as it:
        position = it.columns.index(name)
        x = "0" if rule else sql.number(f"c{position}", it.types[position])
        [(value, is_number)] = connection.execute(
            f"SELECT c{position}, coalesce(isfinite({x}), false)"
            f" FROM {it.relation(skip=False)} LIMIT 1 OFFSET {row}"
        ).fetchall()
    limits = f"0 or {SMALLEST:g} to {LARGEST:g} in size" if is_number else "a finite number"
    return (
        f"{it.name}: {engine.located(row + 1, it.kind)}: {named(name)} is {engine.cell(value)},"
        f" {rule or f'must be {limits}'} ({plural(bad, 'bad row')} in all)"
    )
