"""Read a table of your own from `data/raw`: numbers, in CSV or Parquet."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.project import cli
from stages.project.cli import InputError, plural
from stages.project.files import SAMPLE_COLUMNS
from stages.project.text import listed, named
from stages.tables import engine, source, sql, table
from stages.tables.source import NUMERIC, Source
from stages.tables.table import Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = Path("data/raw")  # named in dvc.yaml, so that DVC sees what changes here
SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a value, so that squares can be added up


def read(pattern: str, target: str | None, features: Sequence[str] | None) -> Table:
    """Read the files that match `pattern`, one below the other, as one table.

    Parameters
    ----------
    pattern : str
        A path below `data/raw`, which may have wildcards.
    target : str, or None
        The column to predict; for None the error lists what there is.
    features : sequence of str, or None
        The columns to predict from; None for all others that hold numbers, and then those left
        out are named on standard error.

    Raises
    ------
    InputError
        There is no such file or column, or one of the values is not a number.
    """
    paths = find(pattern)
    with engine.connected(pattern) as connection:
        connection.execute("RESET memory_limit")  # the whole table is going to be in memory
        with opened(paths[0], [target] if target else [], connection) as first:
            names = chosen(first, target, features)
        ends = gather(paths, names, connection)
        if not ends[-1]:
            raise InputError(f"{pattern} has no rows")
        [counts] = connection.execute("SELECT count(COLUMNS(*)) FROM numbers").fetchall()
        numbers = dict(zip(names, counts, strict=True))
        if features is None:
            names = [name for name in names if numbers[name] or name == target]
            if left_out := [name for name in first.columns if name not in names]:
                what = f"left out, as they hold no numbers: {listed(left_out)}"
                cli.say(f"load: {pattern}: {what}")
        check_names(names, pattern)
        for name in names:
            if numbers[name] < ends[-1]:
                hint = "" if name == target else "; load.features can leave it out"
                raise InputError(complaint(name, paths, ends, connection) + hint)
        values = table.columns(connection.table("numbers"), names)
    *used, target = names
    return Table(values[:-1].T, values[-1], tuple(used), target, table.OWN_UNIT, pattern)


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


def chosen(first: Source, target: str | None, features: Sequence[str] | None) -> list[str]:
    """Return the features, all that may hold numbers if none are named, and then the target."""
    if target is None:
        raise InputError(
            f"load.target must name the column of {first.name} to predict, one of"
            f" {listed(first.columns)}"
        )
    if features is None:  # columns of numbers by their type or, as in CSV, of text
        columns = zip(first.columns, first.types, strict=True)
        features = [
            name for name, kind in columns if name not in ("", target) and NUMERIC.match(kind)
        ]
    names = [*features, target]
    seen: dict[str, str] = {}
    for name in names:
        if not name.isprintable():
            raise InputError(
                f"{first.name}: {name!r} cannot be the name of a column, it does not print"
            )
        twin = seen.setdefault(name.lower(), name)
        if twin != name:
            raise InputError(
                f"{first.name}: {twin} and {name} differ in case alone, which SQL does not see:"
                " rename one, or leave it out of load.features"
            )
    return names


def gather(
    paths: Sequence[Path], names: Sequence[str], connection: "DuckDBPyConnection"
) -> list[int]:
    """Collect the columns `names` of all files in the table `numbers`.

    What is not a number, or not of a size from 1e-100 to 1e100, becomes NULL there, which `read`
    refuses.

    Returns
    -------
    list of int
        How many rows there are before each file, and in all.
    """
    columns = ", ".join(f"{sql.identifier(name)} DOUBLE" for name in names)
    connection.execute(f"CREATE TEMP TABLE numbers ({columns})")
    ends = [0]
    for path in paths:
        with opened(path, names, connection) as it:
            positions = [it.columns.index(name) for name in names]
            casts = [sql.number(f"c{position}", it.types[position]) for position in positions]
            values = ", ".join(
                f"CASE WHEN {x} = 0 OR abs({x}) BETWEEN {SMALLEST} AND {LARGEST} THEN {x} END"
                for x in casts
            )
            [(added,)] = engine.attended(
                connection, f"INSERT INTO numbers SELECT {values} FROM {it.relation(skip=False)}"
            )
        ends.append(ends[-1] + added)
    return ends


def check_names(names: Sequence[str], pattern: str) -> None:
    """Refuse a table without features, and names that the output has for something else."""
    *features, target = names
    if not features:
        raise InputError(f"{pattern}: no column but {target} holds numbers")
    for name in features:
        if name in (*SAMPLE_COLUMNS, "prediction"):
            raise InputError(
                f"{pattern}: no feature can be called {name}, which is a column of the output:"
                " rename it, or list others in load.features"
            )


def complaint(
    name: str, paths: Sequence[Path], ends: Sequence[int], connection: "DuckDBPyConnection"
) -> str:
    """Say which value of a column is the first that is not as it must be, and how many are."""
    [(first, bad)] = connection.execute(
        "SELECT min(row), count(*) FROM (SELECT row_number() OVER () - 1 AS row,"
        f" {sql.identifier(name)} AS x FROM numbers) WHERE x IS NULL"
    ).fetchall()
    part = bisect_right(ends, first) - 1
    row = first - ends[part]
    with opened(paths[part], [name], connection) as it:
        position = it.columns.index(name)
        column = f"c{position}"
        [(value, is_number)] = connection.execute(
            f"SELECT {column}, coalesce(isfinite({sql.number(column, it.types[position])}), false)"
            f" FROM {it.relation(skip=False)} LIMIT 1 OFFSET {row}"
        ).fetchall()
    rule = f"0 or {SMALLEST:g} to {LARGEST:g} in size" if is_number else "a finite number"
    return (
        f"{it.name}: {engine.located(row + 1, it.kind)}: {named(name)} is {engine.cell(value)},"
        f" must be {rule} ({plural(bad, 'bad row')} in all)"
    )
