"""Gather the data set that `load.dataset` names as one typed relation, wherever its rows are.

That is a data set of scikit-learn, files of CSV or Parquet below `data/raw`, or a SELECT in a file
there, whose rows stay on a server. Each file is read twice at most: to see what its columns hold,
and into Parquet in a temporary folder.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from msgspec.structs import replace

from stages.columns import engine, source
from stages.columns.inputs import KINDS, MUST_BE
from stages.columns.source import TYPES, Source
from stages.columns.sql import identifier, literal
from stages.project import cli
from stages.project.cli import InputError, plural
from stages.project.params import Load
from stages.project.text import listed, named
from stages.tables import datasets, spark
from stages.tables.relation import DuckDB, Engine, Relation, Rows, aggregate, column, read_parquet
from stages.tables.spark import Spark

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = Path("data/raw")  # named in dvc.yaml, so that DVC sees what changes here
OWN_UNIT = "its own unit"  # of a target whose unit nobody has told
SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a value, so that products are numbers too
FIT = MUST_BE | {"number": f"a finite number, 0 or {SMALLEST:g} to {LARGEST:g} in size"}
# types of a key: two engines write others as different texts
KEY = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UUID|(VAR)?CHAR(\(\d+\))?|STRING")
NUMBER = TYPES["number"]


def gather(config: Load, scratch: Path, connection: "DuckDBPyConnection") -> Relation:
    """Return the data set, with the columns that `config` asks for.

    Where `config` says null: the target and the unit of the data set, all columns but the target.

    Raises
    ------
    InputError
        The data set cannot be read, it has no such columns, a value is not of the kind of its
        column, or a key names no single row.
    """
    keys = config.keys
    connection.execute(f"SET temp_directory = {literal(str(scratch))}")
    with ExitStack() as watched:
        config, on, parts = open_parts(config, watched, connection)
        features, target = choose(parts[0], config)
        for part in parts:
            check(part, [*features, target], target, keys)
        n_rows, counts, nameless = survey(parts, [*features, target], keys, on)
        if not n_rows:
            raise InputError(f"{on.name} has no rows")
        left_out = {
            name: why for name in (*features, target) if (why := unusable(name, parts, counts))
        }
        if why := left_out.pop(target, None):
            raise InputError(f"{on.name}: {named(target)} cannot be the target: {why}")
        kinds = {
            name: choose_kind(parts[0], name, counts[name])
            for name in features
            if name not in left_out
        }
        typed = kinds | {target: "number"}
        if nameless or any(counts[name][kind] for name, kind in typed.items() if kind != "text"):
            refuse(parts, typed, target, keys, on)
        rows = store(parts, typed | dict.fromkeys(keys, "text"), scratch, on)
    check_repeated(keys, rows, on)
    unit = config.unit or OWN_UNIT
    return Relation(on, rows, config.dataset, target, unit, kinds, left_out, n_rows)


def open_parts(
    config: Load, watched: ExitStack, connection: "DuckDBPyConnection"
) -> tuple[Load, Engine, list[Source]]:
    """Return what runs SQL, and the files, the SELECT or the data set, each as a table of SQL.

    Where the data set has a target of its own and `config` none, it is filled in, with its unit.
    Files are watched until `watched` is closed: they must not change.
    """
    name = config.dataset
    if name in datasets.SOURCES:
        whole = datasets.SOURCES[name]()
        if config.target in (None, whole.target):
            config = replace(config, target=whole.target, unit=config.unit or whole.unit)
        connection.register(name, dict(whole.columns))
        types = ["DOUBLE"] * len(whole.columns)
        part = Source(name, "sql", [*whole.columns], types, identifier(name))
        return config, DuckDB(name, connection), [part]
    if FOLDER not in Path(os.path.normpath(name)).parents:
        raise InputError(
            f"load.dataset must be {', '.join(datasets.SOURCES)} or files below {FOLDER}, which may"
            f" have wildcards, got {name!r}"
        )
    paths = find(name)
    for path in paths:
        watched.enter_context(engine.unchanged(path))
    if Path(name).suffix == ".sql":
        on = spark.connect(name)
        return config, on, [open_select(paths, config, on)]
    names = (config.target, *(config.features or ()), *config.keys)
    wanted: dict[str, str | None] = dict.fromkeys(filter(None, names))
    files = [source.detect(path, str(path), wanted, connection) for path in paths]
    return config, DuckDB(name, connection), files


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


def open_select(paths: Sequence[Path], config: Load, on: Spark) -> Source:
    """Return the one SELECT of a server; its rows have no order, so that a key must name them."""
    if not config.keys:
        raise InputError(f"{config.dataset}: load.key must name its rows, as they have no order")
    if len(paths) > 1:
        several = f"{config.dataset} matches {paths[0]} and others"
        raise InputError(f"load.dataset: {several}, must be one SELECT")
    text = paths[0].read_text(encoding="utf-8", errors="replace").strip().removesuffix(";")
    columns, types = on.describe(f"SELECT * FROM (\n{text}\n) AS t LIMIT 0")
    return Source(on.name, "sql", columns, types, f"(\n{text}\n)", dialect=on.dialect)


def choose(first: Source, config: Load) -> tuple[Sequence[str], str]:
    """Return the columns to predict from, all others if none are named, and the target."""
    target, keys, name = config.target, config.keys, first.name
    if target is None:
        what = f"the column of {name} to predict, one of {listed(first.columns)}"
        raise InputError(f"load.target must name {what}")
    features = config.features or [each for each in first.columns if each not in (target, *keys)]
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


def check(part: Source, names: Sequence[str], target: str, keys: Sequence[str]) -> None:
    """Refuse a part that lacks a column, or whose target or key cannot be that by its type."""
    source.check(part.columns, part.name, [*names, *keys])
    rules = {target: (NUMBER, MUST_BE["number"])}
    rules |= dict.fromkeys(keys, (KEY, "text or whole numbers"))
    for name, (types, must_be) in rules.items():
        if part.kind != "csv" and not types.fullmatch(sort := part.type_of(name)):
            what = "load.key: " if name in keys else ""
            raise InputError(
                f"{part.name}: {what}{named(name)} must be {must_be}, its type is {sort}"
            )


def survey(
    parts: Sequence[Source], names: Sequence[str], keys: Sequence[str], on: Engine
) -> tuple[int, Mapping[str, Counter[str]], int]:
    """Count the rows; in each column the values that are not of a kind; and the empty keys.

    All values count as not of the kind 'text', so that its count is that of all values.
    """
    n_rows, nameless = 0, 0
    counts: Mapping[str, Counter[str]] = {name: Counter() for name in names}
    for part in parts:
        if part.decimal == ",":
            cli.say(f"load: {part.name}: read with decimal commas")
        usable = [name for name in names if part.kind_of(name)]
        tests = {case: unfit(part, *case) for case in product(usable, KINDS)}
        empty = {key: f"NOT ({part.present(key)})" for key in keys}
        asked = [*dict.fromkeys([*tests.values(), *empty.values()])]
        filters = [f"count(*) FILTER (WHERE {test})" for test in asked]
        count, found = aggregate(filters, Rows(with_numbers(part, usable)), on)
        having = dict(zip(asked, found, strict=True))
        n_rows += count
        nameless += sum(having[test] for test in empty.values())
        for (name, kind), test in tests.items():
            counts[name][kind] += having[test]
    return n_rows, counts, nameless


def unusable(name: str, parts: Sequence[Source], counts: Mapping[str, Counter[str]]) -> str | None:
    """Return why a column can be neither an input nor the target, if it cannot."""
    if not name:
        return "it has no name"
    if odd := [part.type_of(name) for part in parts if not part.kind_of(name)]:
        return f"its type is {odd[0]}"
    return None if counts[name]["text"] else "it has no values"


def choose_kind(first: Source, name: str, counts: Mapping[str, int]) -> str:
    """Return what a column holds: by its type, or in CSV the kind of at least half of its values.

    All values of a boolean are: true and false can be two of many texts.
    """
    if first.kind != "csv":
        return str(first.kind_of(name))
    allowed = {"number": counts["text"] // 2, "boolean": 0, "date": counts["text"] // 2}
    return next((kind for kind, most in allowed.items() if counts[kind] <= most), "text")


def with_numbers(part: Source, names: Collection[str]) -> str:
    """Return a relation in which c0, c1, … are also numbers, where they are: n_c0, n_c1, …."""
    numbers = [f"{part.cast(name, 'number')} AS n_{part.column(name)}" for name in names]
    return f"(SELECT {', '.join(['*', *numbers])} FROM {part.relation()}) AS t"


def unfit(part: Source, name: str, kind: str) -> str:
    """Return the test that a value is there, and not of a kind; text has all kinds in it."""
    n, present = f"n_{part.column(name)}", part.present(name)
    if kind == "text" or part.kind_of(name) not in (kind, "text"):
        return present
    if kind == "number":
        fits = f"{n} = 0 OR isnan({n}) OR abs({n}) BETWEEN {SMALLEST} AND {LARGEST}"
        return f"({present} AND NOT coalesce({fits}, FALSE))"
    # a cast to a date takes long: spare it where a number is
    return f"CASE WHEN {n} IS NULL THEN {part.unreadable(name, kind)} ELSE {present} END"


def store(parts: Sequence[Source], kinds: Mapping[str, str], scratch: Path, on: Engine) -> Rows:
    """Return all rows, each column as what it holds; those that are here as Parquet."""
    selects = []
    for part in parts:
        values = [
            f"{part.value(name, kind)} AS {on.dialect.identifier(name)}"
            for name, kind in kinds.items()
        ]
        selects.append(Rows(part.relation()).select(values))
    if not isinstance(on, DuckDB):
        return Rows(f"({selects[0]}) AS t")
    copies = [scratch / f"{number}.parquet" for number in range(len(parts))]
    for query, copy in zip(selects, copies, strict=True):
        on.copy(query, len(kinds), copy, compression="uncompressed")
    return Rows(read_parquet(*copies))


def refuse(
    parts: Sequence[Source],
    kinds: Mapping[str, str],
    target: str,
    keys: Sequence[str],
    on: Engine,
) -> NoReturn:
    """Say which row is the first with an empty key or a value not of its kind, and how many."""
    first, total = "", 0
    advice = ", or be left out of load.features"
    rules = {
        name: f"must be {FIT[kind]}{'' if name == target else advice}"
        for name, kind in kinds.items()
    } | dict.fromkeys(keys, "must name the row")
    for part in parts:
        tests = {key: f"NOT ({part.present(key)})" for key in keys}
        tests |= {name: unfit(part, name, kind) for name, kind in kinds.items() if kind != "text"}
        rows = Rows(with_numbers(part, kinds), f"({' OR '.join(tests.values())})")
        count, _ = aggregate([], rows, on)
        if count and not first:
            by = keys if part.kind == "sql" else ()  # a file has an order
            place, name = source.first_bad(part, rows.source, rows.where, tests, on.rows, by)
            first = f"{part.name}: {place}, {rules[str(name)]}"
        total += count
    raise InputError(f"{first} ({plural(total, 'bad row')} in all)")


def check_repeated(keys: Sequence[str], rows: Rows, on: Engine) -> None:
    """Refuse keys that more than one row has."""
    if not keys:
        return
    columns = [column(key, on) for key in keys]
    counts = ["count(*) AS n", "count(*) OVER () AS more"]
    by, query = ", ".join(columns), rows.select([*columns, *counts])
    repeated = on.rows(f"{query} GROUP BY {by} HAVING count(*) > 1 ORDER BY {by} LIMIT 1")
    for *values, n_rows, more in repeated:
        key = ", ".join(f"{named(k)} {engine.cell(v)}" for k, v in zip(keys, values, strict=True))
        many = f"{n_rows:,} rows have {key} ({plural(more, 'such key')} in all)"
        raise InputError(f"{on.name}: load.key must be unique, {many}")
