"""Gather a table of your own from `data/raw`: CSV or Parquet.

Every file is read twice: to see what its columns hold, and into Parquet in a temporary folder,
where each column is a number, a boolean, a moment or a text.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.project import cli
from stages.project.cli import InputError, plural
from stages.project.params import Load
from stages.project.text import listed, named
from stages.tables import engine, source, sql, table
from stages.tables.encoding import Gathered
from stages.tables.inputs import KINDS, MUST_BE
from stages.tables.source import Source
from stages.tables.table import LARGEST, SMALLEST, VIEW, Engine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = Path("data/raw")  # named in dvc.yaml, so that DVC sees what changes here
FIT = MUST_BE | {"number": f"a finite number, 0 or {SMALLEST:g} to {LARGEST:g} in size"}
KEY = re.compile(
    r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|UUID$|(VAR)?CHAR(\(\d+\))?$|STRING$"
)  # types of a key


def gather(config: Load, scratch: Path, connection: "DuckDBPyConnection") -> Gathered:
    """Make the files that `config.dataset` matches, one below the other, the view VIEW.

    As `datasets.gather` does, but that the target must be named.

    Raises
    ------
    InputError
        There is no such file or column, a value is not of the kind of its column, or a key names
        no single row.
    """
    pattern, keys = config.dataset, config.keys
    paths = find(pattern)
    connection.execute(f"SET temp_directory = {sql.literal(str(scratch))}")
    with ExitStack() as watched:
        for path in paths:
            watched.enter_context(engine.unchanged(path))
        wanted = {config.target: "number"} if config.target else {}
        with opened(paths[0], wanted, connection) as first:
            names, target = chosen(first, config)
        counts, left_out = surveyed(paths, [*names, target], connection)
        kinds = {name: kind_of(counts[name]) for name in names if name not in left_out}
        stored = kinds | {target: "number"}
        if any(counts[name][kind] for name, kind in stored.items() if kind != "text"):
            raise InputError(
                complaint(
                    paths,
                    stored,
                    lambda it: {name: unfit(it, name, kind) for name, kind in stored.items()},
                    lambda name: (
                        f"must be {FIT[stored[name]]}"
                        + ("" if name == target else ", or be left out of load.features")
                    ),
                    connection,
                )
            )
        copies = [scratch / f"{number}.parquet" for number in range(len(paths))]
        for path, copy in zip(paths, copies, strict=True):
            stage(path, stored, keys, copy, connection)
    listing = ", ".join(sql.literal(str(path)) for path in copies)
    connection.execute(f"CREATE TEMP VIEW {VIEW} AS FROM read_parquet([{listing}])")
    [(n_rows,)] = connection.execute(f"SELECT count(*) FROM {VIEW}").fetchall()
    if not n_rows:
        raise InputError(f"{pattern} has no rows")
    if why := left_out.pop(target, None):
        raise InputError(f"{pattern}: {named(target)} cannot be the target: {why}")
    check_keys(keys, paths, pattern, connection)
    on = engine.DuckDB(pattern, connection)
    return Gathered(on, pattern, target, config.unit or table.OWN_UNIT, kinds, left_out, n_rows)


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
def opened(
    path: Path, kinds: Mapping[str, str | None], connection: "DuckDBPyConnection"
) -> Iterator[Source]:
    """Open a file, which must have columns of these names and kinds."""
    name = str(path)
    with (
        path.open("rb") as file,
        engine.explaining(name),
        source.opened(file.fileno(), name, kinds, connection) as it,
    ):
        if it.kind == "json":
            raise InputError(f"{name} is JSON, must be CSV or Parquet")
        yield it


def chosen(first: Source, config: Load) -> tuple[Sequence[str], str]:
    """Return the columns to predict from, all others if none are named, and the target."""
    target, keys = config.target, config.keys
    if target is None:
        raise InputError(
            f"load.target must name the column of {first.name} to predict, one of"
            f" {listed(first.columns)}"
        )
    names = config.features or [name for name in first.columns if name not in (target, *keys)]
    check_names([*names, *keys, target], first.name)
    return names, target


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


def surveyed(
    paths: Sequence[Path], names: Sequence[str], connection: "DuckDBPyConnection"
) -> tuple[Mapping[str, Counter[str]], dict[str, str]]:
    """Count in each column the values that are there, as 'text', and those not of a kind.

    Returns
    -------
    counts : mapping of str to Counter
    left_out : dict
        Columns that cannot be inputs, and why.
    """
    counts: Mapping[str, Counter[str]] = {name: Counter() for name in names}
    left_out = {}
    for path in paths:
        with opened(path, dict.fromkeys(names), connection) as it:
            if it.decimal == ",":
                cli.say(f"load: {it.name}: read with decimal commas")
            tests = []
            for name in names:
                found = it.kind_of(name)
                if name == "" or not found:
                    left_out[name] = (
                        f"its type is {it.column(name)[1]}" if name else "it has no name"
                    )
                tests += [
                    unfit(it, name, kind) if found in (kind, "text") else it.present(name)
                    for kind in KINDS[:-1]
                ]
                tests.append(it.present(name))
            filters = ", ".join(f"count(*) FILTER ({test})" for test in tests)
            [row] = engine.attended(connection, f"SELECT {filters} FROM {with_numbers(it, names)}")
        for index, name in enumerate(names):
            counts[name].update(dict(zip(KINDS, row[index * len(KINDS) :], strict=False)))
    left_out |= {name: "it has no values" for name in names if not counts[name]["text"]}
    return counts, left_out


def kind_of(counts: Mapping[str, int]) -> str:
    """Return what a column holds: the first kind that at least half of its values are of.

    All values of a boolean are: true and false can be two of many texts.
    """
    allowed = {"number": counts["text"] // 2, "boolean": 0, "date": counts["text"] // 2}
    return next((kind for kind, most in allowed.items() if counts[kind] <= most), "text")


def with_numbers(it: Source, names: Collection[str]) -> str:
    """Return a relation in which c0, c1, … of a file are also numbers, called n0, n1, and so on."""
    numbers = {name: it.cast(name, "number") for name in names}
    columns = [f"{x} AS n{it.columns.index(name)}" for name, x in numbers.items()]
    return f"(SELECT *, {', '.join(columns)} FROM {it.relation(skip=False)})"


def unfit(it: Source, name: str, kind: str) -> str:
    """Return the test that a value is not of a kind, or as a number too small or too large."""
    n = f"n{it.columns.index(name)}"
    if kind == "number":
        fits = f"{n} = 0 OR isnan({n}) OR abs({n}) BETWEEN {SMALLEST} AND {LARGEST}"
        return f"({it.present(name)} AND NOT coalesce({fits}, FALSE))"
    # a cast to a date takes long: spare it where a number is
    return f"CASE WHEN {n} IS NULL THEN {it.unreadable(name, kind)} ELSE {it.present(name)} END"


def stage(
    path: Path,
    kinds: Mapping[str, str],
    keys: Sequence[str],
    copy: Path,
    connection: "DuckDBPyConnection",
) -> None:
    """Store the columns of a file as their kinds, and `keys` as text."""
    every = {**kinds, **dict.fromkeys(keys, "text")}
    with opened(path, every, connection) as it:
        check_key_types(keys, it)
        values = [
            f"{it.value(name, kind)} AS {sql.identifier(name)}" for name, kind in every.items()
        ]
        query = f"SELECT {', '.join(values)} FROM {it.relation(skip=False)}"
        table.copy(query, len(values), copy, connection, compression="uncompressed")


def check_key_types(keys: Sequence[str], it: Source) -> None:
    """Refuse keys that two engines may write as different texts."""
    for name in keys:
        if not KEY.match(it.column(name)[1]):
            raise InputError(
                f"{it.name}: load.key: {named(name)} must be text or whole numbers, its type is"
                f" {it.column(name)[1]}"
            )


def check_keys(
    keys: Sequence[str], paths: Sequence[Path], pattern: str, connection: "DuckDBPyConnection"
) -> None:
    """Refuse keys that are empty, or that more than one row has."""
    if not keys:
        return
    empty = " OR ".join(f"{sql.identifier(name)} IS NULL" for name in keys)
    if connection.execute(f"SELECT 1 FROM {VIEW} WHERE {empty} LIMIT 1").fetchall():
        raise InputError(
            complaint(
                paths,
                dict.fromkeys(keys, "text"),
                lambda it: {name: f"{it.value(name, 'text')} IS NULL" for name in keys},
                lambda _: "must name the row",
                connection,
            )
        )
    check_repeated(keys, engine.DuckDB(pattern, connection))


def check_repeated(keys: Sequence[str], on: Engine) -> None:
    """Refuse keys that more than one row has."""
    columns = ", ".join(map(on.dialect.identifier, keys))
    repeated = on.rows(
        f"SELECT {columns}, count(*) AS n, count(*) OVER () AS more FROM {VIEW} GROUP BY {columns}"
        f" HAVING count(*) > 1 ORDER BY {columns} LIMIT 1",
    )
    for *values, rows, more in repeated:
        raise InputError(
            f"{on.name}: load.key must be unique, {rows:,} rows have {pairs(keys, values)}"
            f" ({plural(more, 'such key')} in all)"
        )


def pairs(keys: Sequence[str], values: Sequence[object]) -> str:
    """Return the key of a row for people."""
    cells = zip(map(named, keys), map(engine.cell, values), strict=True)
    return ", ".join(f"{name} {value}" for name, value in cells)


def complaint(
    paths: Sequence[Path],
    kinds: Mapping[str, str],
    tests: Callable[[Source], Mapping[str, str]],
    rule: Callable[[str], str],
    connection: "DuckDBPyConnection",
) -> str:
    """Say which value is the first that a test of its column finds, and how many rows have one."""
    first, total = "", 0
    for path in paths:
        with opened(path, kinds, connection) as it:
            found = tests(it)
            numbered = f"SELECT *, row_number() OVER () AS row FROM {with_numbers(it, kinds)}"
            rows = f"FROM ({numbered}) WHERE {' OR '.join(found.values())}"
            [(count,)] = connection.execute(f"SELECT count(*) {rows}").fetchall()
            total += count
            if count and not first:
                cells = ", ".join(it.column(name)[0] for name in found)
                [(row, *values)] = connection.execute(
                    f"SELECT row, {cells}, {', '.join(found.values())} {rows} ORDER BY row LIMIT 1"
                ).fetchall()
                wrong = zip(found, values, values[len(found) :], strict=False)
                name, value = next((name, value) for name, value, is_wrong in wrong if is_wrong)
                where = f"{it.name}: {engine.located(row, it.kind)}"
                first = f"{where}: {named(name)} is {engine.cell(value)}, {rule(name)}"
    return f"{first} ({plural(total, 'bad row')} in all)"
