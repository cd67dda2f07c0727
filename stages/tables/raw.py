"""Gather a table of your own from `data/raw`: CSV or Parquet.

Every file is read twice: to see what its columns hold, and into Parquet in a temporary folder,
where each column is a number, a boolean, a moment or a text.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stages.columns import engine, source, sql
from stages.columns.inputs import KINDS, MUST_BE
from stages.columns.source import Source
from stages.project import cli
from stages.project.cli import InputError, plural
from stages.project.params import Load
from stages.project.text import listed, named
from stages.tables import table
from stages.tables.encoding import Gathered
from stages.tables.table import LARGEST, SMALLEST, VIEW, Engine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = Path("data/raw")  # named in dvc.yaml, so that DVC sees what changes here
FIT = MUST_BE | {"number": f"a finite number, 0 or {SMALLEST:g} to {LARGEST:g} in size"}
# types of a key: two engines write others as different texts
KEY = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|UUID$|(VAR)?CHAR(\(\d+\))?$|STRING$")


def gather(config: Load, scratch: Path, connection: "DuckDBPyConnection") -> Gathered:
    """Make the files that `config.dataset` matches, one below the other, the view VIEW."""
    pattern, keys = config.dataset, config.keys
    paths = find(pattern)
    connection.execute(f"SET temp_directory = {sql.literal(str(scratch))}")
    with ExitStack() as watched:
        for path in paths:
            watched.enter_context(engine.unchanged(path))
        wanted = {config.target: "number"} if config.target else {}
        with opened(paths[0], wanted, connection) as first:
            names, target = chosen(first.columns, first.name, config)
        counts, left_out = surveyed(paths, [*names, target], connection)
        kinds = {name: kind_of(counts[name]) for name in names if name not in left_out}
        stored = kinds | {target: "number"}
        typed = {name: kind for name, kind in stored.items() if kind != "text"}
        if any(counts[name][kind] for name, kind in typed.items()):
            advice = dict.fromkeys(kinds, ", or be left out of load.features")
            rules = {name: f"must be {FIT[typed[name]]}{advice.get(name, '')}" for name in typed}
            refuse(paths, typed, unfit, rules, connection)
        copies = [scratch / f"{number}.parquet" for number in range(len(paths))]
        every = stored | dict.fromkeys(keys, "text")
        for path, copy in zip(paths, copies, strict=True):
            with opened(path, every, connection) as it:
                check_key_types(keys, it)
                values = {sql.identifier(name): it.value(name, every[name]) for name in every}
                columns = ", ".join(f"{value} AS {name}" for name, value in values.items())
                query = f"SELECT {columns} FROM {it.relation()}"
                table.copy(query, len(every), copy, connection, compression="uncompressed")
    listing = ", ".join(sql.literal(str(path)) for path in copies)
    connection.execute(f"CREATE TEMP VIEW {VIEW} AS FROM read_parquet([{listing}])")
    on = engine.DuckDB(pattern, connection)
    empty = " OR ".join(f"{sql.identifier(name)} IS NULL" for name in keys) or "FALSE"
    n_rows, [unnamed] = table.aggregates(on, [f"count(*) FILTER ({empty})"], f"FROM {VIEW}")
    if not n_rows:
        raise InputError(f"{pattern} has no rows")
    if why := left_out.pop(target, None):
        raise InputError(f"{pattern}: {named(target)} cannot be the target: {why}")
    if unnamed:
        texts, rules = dict.fromkeys(keys, "text"), dict.fromkeys(keys, "must name the row")
        refuse(paths, texts, lambda it, name, _: f"NOT ({it.present(name)})", rules, connection)
    if keys:
        check_repeated(keys, on)
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
    with engine.translate_errors(name):
        yield source.detect(path, name, kinds, connection)


def chosen(
    columns: Sequence[str], name: str, config: Load, target: str | None = None
) -> tuple[Sequence[str], str]:
    """Return the columns to predict from, all others if none are named, and the target."""
    target, keys = config.target or target, config.keys
    if target is None:
        raise InputError(
            f"load.target must name the column of {name} to predict, one of {listed(columns)}"
        )
    features = config.features or [each for each in columns if each not in (target, *keys)]
    for what, others in (("the target", [target]), ("a column of load.key", keys)):
        if twice := {*features} & {*others}:
            raise InputError(f"load.features must not have {what}, {twice.pop()}")
    if target in keys:
        raise InputError(f"load.key must not have the target, {target}")
    seen: dict[str, str] = {}
    for each in (*features, *keys, target):
        if not each.isprintable():
            raise InputError(f"{name}: {each!r} cannot be the name of a column, it does not print")
        if (twin := seen.setdefault(each.lower(), each)) != each:
            raise InputError(
                f"{name}: {twin} and {each} differ in case alone, which SQL does not see:"
                " rename one, or leave it out of load.features"
            )
    return features, target


def surveyed(
    paths: Sequence[Path], names: Sequence[str], connection: "DuckDBPyConnection"
) -> tuple[Mapping[str, Counter[str]], dict[str, str]]:
    """Count in each column the values that are there, as 'text', and those not of another kind.

    Return also the columns that cannot be inputs, and why.
    """
    counts: Mapping[str, Counter[str]] = {name: Counter() for name in names}
    left_out: dict[str, str] = {}
    for path in paths:
        with opened(path, dict.fromkeys(names), connection) as it:
            if it.decimal == ",":
                cli.say(f"load: {it.name}: read with decimal commas")
            sorts = {name: it.type_of(name) for name in names if not it.kind_of(name)}
            left_out |= {name: f"its type is {sort}" for name, sort in sorts.items()}
            left_out |= {"": "it has no name"} if "" in names else {}
            cases = [*product(names, KINDS)]
            filters = ", ".join(f"count(*) FILTER ({unfit(it, *case)})" for case in cases)
            [row] = engine.execute(connection, f"SELECT {filters} FROM {with_numbers(it, names)}")
        for (name, kind), count in zip(cases, row, strict=True):
            counts[name][kind] += count
    left_out |= {name: "it has no values" for name in names if not counts[name]["text"]}
    return counts, left_out


def kind_of(counts: Mapping[str, int]) -> str:
    """Return what a column holds: the first kind that at least half of its values are of.

    All values of a boolean are: true and false can be two of many texts.
    """
    allowed = {"number": counts["text"] // 2, "boolean": 0, "date": counts["text"] // 2}
    return next((kind for kind, most in allowed.items() if counts[kind] <= most), "text")


def with_numbers(it: Source, names: Collection[str]) -> str:
    """Return a relation in which c0, c1, … of a file are also numbers: n_c0, n_c1, …."""
    columns = [f"{it.cast(name, 'number')} AS n_{it.column(name)}" for name in names]
    return f"(SELECT *, {', '.join(columns)} FROM {it.relation()})"


def unfit(it: Source, name: str, kind: str) -> str:
    """Return the test that a value is there, and not of a kind; text has all kinds in it."""
    n = f"n_{it.column(name)}"
    if kind == "text" or it.kind_of(name) not in (kind, "text"):
        return it.present(name)
    if kind == "number":
        fits = f"{n} = 0 OR isnan({n}) OR abs({n}) BETWEEN {SMALLEST} AND {LARGEST}"
        return f"({it.present(name)} AND NOT coalesce({fits}, FALSE))"
    # a cast to a date takes long: spare it where a number is
    return f"CASE WHEN {n} IS NULL THEN {it.unreadable(name, kind)} ELSE {it.present(name)} END"


def check_key_types(keys: Sequence[str], it: Source) -> None:
    for name in keys:
        sort = it.type_of(name)
        if not KEY.match(sort):
            rule = f"{named(name)} must be text or whole numbers, its type is {sort}"
            raise InputError(f"{it.name}: load.key: {rule}")


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


def refuse(
    paths: Sequence[Path],
    kinds: Mapping[str, str],
    test: Callable[[Source, str, str], str],
    rules: Mapping[str, str],
    connection: "DuckDBPyConnection",
) -> NoReturn:
    """Say which value is the first that `test` finds in its column, and how many rows have one."""
    first, total = "", 0
    for path in paths:
        with opened(path, kinds, connection) as it:
            tests = {name: test(it, name, kind) for name, kind in kinds.items()}
            rows, bad = with_numbers(it, kinds), " OR ".join(tests.values())
            [(count,)] = engine.execute(connection, f"SELECT count(*) FROM {rows} WHERE {bad}")
            if count and not first:
                run = partial(engine.execute, connection)
                place, name = source.first_bad(it, rows, bad, tests, run)
                first = f"{it.name}: {place}, {rules[str(name)]}"
            total += count
    raise InputError(f"{first} ({plural(total, 'bad row')} in all)")
