"""Gather the data set that `load.dataset` names as one typed relation, wherever its rows are.

That is a data set with a name, files of CSV or Parquet below `data/raw`, or a SELECT in a file
there, which DuckDB runs, or a server where its rows stay. CSV and what DuckDB selects are first
copied to Parquet; other rows are read where they are.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from glob import glob
from importlib import import_module
from pathlib import Path

from msgspec.structs import replace

from stages.columns import source
from stages.columns.engine import DuckDB
from stages.columns.inputs import MOST
from stages.columns.readings import PLAIN
from stages.columns.source import Source
from stages.columns.sql import identifier, literal
from stages.columns.terms import parse_term
from stages.project.cli import InputError, plural
from stages.project.params import Load
from stages.project.text import join, label
from stages.tables import spark
from stages.tables.kinds import tell_columns
from stages.tables.relation import DataSet, Engine, Relation, Rows, aggregate
from stages.tables.split import PLACE, draw

FOLDER = Path("data/raw")  # named in dvc.yaml, so that DVC sees what changes here
PROBLEMS = 3  # that a message has
PANDAS_INDEX = "__index_level_0__"  # in Parquet, beside the columns


def gather(config: Load, scratch: Path, here: DuckDB, lenient: bool = False) -> Relation:
    """Return the data set, with the columns that `config` asks for.

    Where `config` says null: the target of the data set, all columns but the target.
    A feature with a problem is refused, or if `lenient`, left out; and a text that repeats among
    numbers or dates marks a gap.
    """
    here.connection.execute(f"SET temp_directory = {literal(str(scratch))}")
    config, on, parts = open_parts(config, here, scratch)
    features, target = choose(parts, config)
    orders = [] if config.order is None else [config.order]
    names = [*dict.fromkeys([*features, target, *orders])]
    parts, sizes, columns = tell_columns(parts, names, config, scratch, on)
    if not any(sizes):
        raise InputError(f"{on.name} has no rows")
    for role, name in [("target", target), *(("order", name) for name in orders)]:
        if why := columns[name].left_out:
            raise InputError(f"{on.name}: {label(name)} cannot be load.{role}: {why}")
    problems = {name: column.problem for name, column in columns.items() if column.problem}
    left_out = {name: columns[name].left_out for name in features if columns[name].left_out}
    if not config.features:
        others = {*parts[0].unnamed} - {target, *config.keys, *features}
        left_out |= dict.fromkeys(sorted(others), "it has no name")
    markers = {column.marker for column in columns.values() if lenient and column.marker}
    if markers:
        return gather(replace(config, na=[*config.na, *sorted(markers)]), scratch, here, lenient)
    if lenient:
        left_out |= {name: problems.pop(name) for name in features if name in problems}
    if problems:
        raise InputError(". ".join([*problems.values()][:PROBLEMS]))
    kinds = {name: columns[name].kind for name in features if name not in left_out}
    plain, readings = PLAIN.values(), {name: columns[name].reading for name in kinds}
    readings = {name: None if it in plain else it for name, it in readings.items()}
    wanted = kinds | {target: "number"} | dict.fromkeys(config.keys, "text")
    wanted |= {name: columns[name].kind for name in orders}
    if not config.keys:
        draw(sizes, config, here)
    rows = unite(parts, wanted, not config.keys, on)
    if config.keys:
        check_repeated(config.keys, rows, on)
    order = "".join(find_order(name, columns[name].kind, rows, on) for name in orders)
    head, na = (config.dataset, target), tuple(parts[0].na)
    return Relation(on, rows, *head, kinds, left_out, sum(sizes), readings, na, order)


def open_parts(config: Load, here: DuckDB, scratch: Path) -> tuple[Load, Engine, Sequence[Source]]:
    """Return what runs SQL, and each file, the SELECT or the data set; a target is filled in."""
    name = config.dataset
    if name in list_names():
        whole: DataSet = import_module(f"stages.tables.datasets.{name}").load()
        config = replace(config, target=config.target or [*whole][-1])
        here.connection.register(name, dict(whole))
        part = Source(name, "sql", identifier(name), [*whole], ["DOUBLE"] * len(whole))
        return config, here, [part]
    paths = find(name)
    if not name.endswith(".sql"):
        names = filter(None, (config.target, *(config.features or ()), *config.keys))
        wanted: source.Kinds = dict.fromkeys(names)
        files = (source.detect(it, it.as_posix(), wanted, here, folder=scratch) for it in paths)
        parts = [file.read_as({}, config.markers) for file in files]
        if len({part.kind for part in parts}) > 1:
            raise InputError(f"load.dataset: {name} matches CSV and Parquet, must be of one format")
        return config, here, parts
    if not config.keys:
        raise InputError(f"{name}: load.key must name its rows, as they have no order")
    if len(paths) > 1:
        raise InputError(f"load.dataset: {name} must be one SELECT, matches {len(paths)} files")
    text = paths[0].read_text(encoding="utf-8", errors="replace").strip().removesuffix(";")
    select = f"(\n{text}\n)"
    query = f"SELECT * FROM {select} AS t"
    if os.environ.get("SPARK_REMOTE"):
        on = spark.connect(name)
        columns = on.describe(f"{query} LIMIT 0")
        return config, on, [Source(on.name, "sql", select, *columns, dialect=on.dialect)]
    if [each.type.name for each in here.connection.extract_statements(text)] != ["SELECT"]:
        raise InputError(f"{name} must be one SELECT")
    columns = here.describe(text)
    source.check(Source(name, "sql", select, *columns), dict.fromkeys(config.keys))
    query += f" ORDER BY {', '.join(map(here.dialect.column, config.keys))}"  # else none is sure
    here.copy(query, len(columns[0]), scratch / "rows", "uncompressed")
    part = source.detect(scratch / "rows", name, {}, here)
    return config, here, [dataclasses.replace(part, kind="sql")]


def list_names() -> list[str]:
    """Return the data sets that have a name: each is a module, whose `load` returns it."""
    return sorted(path.stem for path in Path(__file__).with_name("datasets").glob("[a-z]*.py"))


def find(pattern: str) -> list[Path]:
    """Return the files that match, in the order of their names, but for those of DVC."""
    if FOLDER not in Path(os.path.normpath(pattern)).parents:
        copy = f": copy it to {FOLDER.as_posix()}" if Path(pattern).is_file() else ""
        what = f"{', '.join(list_names())} or files below {FOLDER.as_posix()}"
        raise InputError(f"load.dataset must be {what}, with wildcards, got {pattern!r}{copy}")
    # not that of Path, which finds files that begin with a dot, and raises for some patterns
    found = [pattern] if Path(pattern).exists() else glob(pattern, recursive=True)  # noqa: PTH207
    files = sorted(path for path in map(Path, found) if path.is_file() and path.suffix != ".dvc")
    if not files:
        queued = ".dvc" in Path.cwd().parts  # or run with --temp: a clone of what git knows
        hint = "; an experiment has what git knows: `git add` it or its .dvc file" if queued else ""
        raise InputError(f"load.dataset: no file matches {pattern}{hint}")
    return files


def choose(parts: Sequence[Source], config: Load) -> tuple[Sequence[str], str]:
    """Return the columns to predict from, all others if none are named, and the target."""
    target, keys, first = config.target, config.keys, parts[0]
    if target is None:
        what = f"the column of {first.name} to predict, one of {join(first.columns)}"
        raise InputError(f"load.target must name {what}")
    others = {target, *keys, *first.unnamed, PANDAS_INDEX}
    features = config.features or [each for each in first.columns if each not in others]
    needed = (column for term in config.derived for _, column, _ in parse_term(term)[1])
    features = [*features, *dict.fromkeys(each for each in needed if each not in features)]
    if len(features) > MOST:
        what = f"{len(features):,} columns to predict from, at most {MOST:,} are allowed"
        raise InputError(f"{first.name}: {what}: list some in load.features")
    if other := {*config.categories} - {*features}:
        got = f"got {join(sorted(other))}; found {join(features)}"
        raise InputError(f"load.categories must list features, {got}")
    if "prediction" in (target, *keys):
        what = "predict adds a column called prediction"
        raise InputError(f"{first.name}: {what}: rename that of load.target or load.key")
    orders = [name for name in [config.order] if name and name not in features]
    chosen = [*features, *keys, target, *orders]
    for part in parts:
        source.check(part, dict.fromkeys(chosen))
    if odd := [name for name in chosen if not name.isprintable()]:
        raise InputError(f"{first.name}: {odd[0]!r} cannot be the name of a column")
    counts = Counter(map(str.lower, chosen))  # as SQL sees no case
    if twins := [name for name in chosen if counts[name.lower()] > 1]:
        what = "load.features or load.derived, load.key, load.target and load.order"
        must = "must be different columns, in more than case"
        raise InputError(f"{first.name}: {what} {must}, got {join(twins)}")
    return features, target


def unite(parts: Iterable[Source], kinds: Mapping[str, str], drawn: bool, on: Engine) -> Rows:
    """Return all rows, each column as what it holds, and if the split was drawn, its draw."""
    queries, quote = [], on.dialect.identifier
    for index, part in enumerate(parts):
        values = [f"{part.value(name, kind)} AS {quote(name)}" for name, kind in kinds.items()]
        source = part.relation
        if drawn:
            values.append(f"drawn.{identifier(PLACE)}")
            source += f" POSITIONAL JOIN places{index} AS drawn"
        queries.append(Rows(source).select(values))
    return Rows(f"({' UNION ALL '.join(queries)}) AS t")


def find_order(name: str, kind: str, rows: Rows, on: Engine) -> str:
    """Return what rows are ordered by, as SQL; all must have it."""
    x = on.dialect.column(name)
    _, (gaps,) = aggregate([f"count(*) - count({x})"], rows, on)
    if gaps:
        raise InputError(f"{on.name}: load.order: {label(name)} is empty in {plural(gaps, 'row')}")
    return {"date": on.dialect.days(x), "boolean": f"CAST({x} AS INTEGER)"}.get(kind, x)


def check_repeated(keys: Sequence[str], rows: Rows, on: Engine) -> None:
    """Refuse keys that more than one row has."""
    columns = [*map(on.dialect.column, keys)]
    counts = ["count(*) AS n", "count(*) OVER () AS more"]
    by, query = ", ".join(columns), rows.select([*columns, *counts])
    repeated = on.rows(f"{query} GROUP BY {by} HAVING count(*) > 1 ORDER BY {by} LIMIT 1")
    for *values, n_rows, more in repeated:
        many = f"{n_rows:,} rows have {source.name_key(keys, values)}"
        total = f"{plural(more, 'such key')} in all"
        raise InputError(f"{on.name}: load.key must be unique, {many} ({total})")
