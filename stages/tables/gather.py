"""Gather the data set that `load.dataset` names as one typed relation, wherever its rows are.

That is a data set of scikit-learn, files of CSV or Parquet below `data/raw`, or a SELECT in a file
there, whose rows stay on a server. CSV is first copied to Parquet; other rows are read where they
are.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from glob import glob
from itertools import product
from pathlib import Path
from typing import NoReturn

from msgspec.structs import replace

from stages.columns import source
from stages.columns.engine import DuckDB
from stages.columns.inputs import KINDS, MOST, MUST_BE
from stages.columns.source import Source
from stages.columns.sql import identifier, literal
from stages.project.cli import InputError, plural
from stages.project.params import Load
from stages.project.text import join, label
from stages.tables import datasets, spark
from stages.tables.conversion import convert
from stages.tables.relation import Engine, Relation, Rows, aggregate
from stages.tables.split import PLACE, draw

FOLDER = Path("data/raw")  # named in dvc.yaml, so that DVC sees what changes here
OWN_UNIT = "its own unit"  # of a target whose unit nobody has told
SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a value, so that products are numbers too
# what a value must be to be learned from; one of load.key is of the kind 'key'
FIT = MUST_BE | {
    "number": f"a finite number, 0 or {SMALLEST:g} to {LARGEST:g} in size",
    "key": "text or whole numbers",
}
# types of a key: two engines write others as different texts
KEY = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UUID|(VAR)?CHAR(\(\d+\))?|STRING")
Counts = Counter[tuple[str, str]]  # of values that are not of a kind, by column and kind


def gather(config: Load, scratch: Path, here: DuckDB) -> Relation:
    """Return the data set, with the columns that `config` asks for.

    Where `config` says null: the target and the unit of the data set, all columns but the target.
    """
    here.connection.execute(f"SET temp_directory = {literal(str(scratch))}")
    config, on, parts = open_parts(config, here, scratch)
    features, target = choose(parts, config)
    names = [*features, target]
    if parts[0].kind == "csv":
        parts = convert(parts, [*names, *config.keys], config.keys, scratch, here)
    surveys = [survey(part, names, config.keys, on) for part in parts]
    sizes = [n_rows for n_rows, _ in surveys]
    counts = sum((found for _, found in surveys), Counts())
    if not any(sizes):
        raise InputError(f"{on.name} has no rows")
    chosen = {name: choose_kind(name, parts, counts) for name in (*features, target)}
    left_out = {name: why for name, (_, why) in chosen.items() if why}
    if not config.features:
        others = {*parts[0].unnamed} - {target, *config.keys}
        left_out |= dict.fromkeys(sorted(others), "it has no name")
    if target in left_out:
        raise InputError(f"{on.name}: {label(target)} cannot be the target: {left_out[target]}")
    kinds = {name: chosen[name][0] for name in features if name not in left_out}
    wanted = kinds | {target: "number"} | dict.fromkeys(config.keys, "key")
    cases = [(name, kind) for name, kind in wanted.items() if kind != "text"]
    for part, (_, found) in zip(parts, surveys, strict=True):
        if any(found[case] for case in cases):
            total = sum(counts[case] for case in cases)
            refuse(part, dict(cases), total, features, on)
    if not config.keys:
        draw(sizes, config, here)
    rows = unite(parts, wanted | dict.fromkeys(config.keys, "text"), not config.keys, on)
    if config.keys:
        check_repeated(config.keys, rows, on)
    head = config.dataset, target, config.unit or OWN_UNIT
    return Relation(on, rows, *head, kinds, left_out, sum(sizes))


def open_parts(config: Load, here: DuckDB, scratch: Path) -> tuple[Load, Engine, Sequence[Source]]:
    """Return what runs SQL, and each file, the SELECT or the data set; a target is filled in."""
    name = config.dataset
    if name in datasets.SOURCES:
        whole = datasets.SOURCES[name]()
        if config.target in (None, whole.target):
            config = replace(config, target=whole.target, unit=config.unit or whole.unit)
        here.connection.register(name, dict(whole.columns))
        types = ["DOUBLE"] * len(whole.columns)
        part = Source(name, "sql", identifier(name), [*whole.columns], types)
        return config, here, [part]
    paths = find(name)
    if not name.endswith(".sql"):
        names = filter(None, (config.target, *(config.features or ()), *config.keys))
        wanted: source.Kinds = dict.fromkeys(names)
        parts = [
            source.detect(path, path.as_posix(), wanted, here, folder=scratch) for path in paths
        ]
        return config, here, parts
    on = spark.connect(name)
    if not config.keys:
        raise InputError(f"{name}: load.key must name its rows, as they have no order")
    if len(paths) > 1:
        raise InputError(f"load.dataset: {name} must be one SELECT, matches {len(paths)} files")
    text = paths[0].read_text(encoding="utf-8", errors="replace").strip().removesuffix(";")
    select = f"(\n{text}\n)"
    columns = on.describe(f"SELECT * FROM {select} AS t LIMIT 0")
    return config, on, [Source(on.name, "sql", select, *columns, dialect=on.dialect)]


def find(pattern: str) -> list[Path]:
    """Return the files that match, in the order of their names, but for those of DVC."""
    if FOLDER not in Path(os.path.normpath(pattern)).parents:
        raise InputError(
            f"load.dataset must be {', '.join(datasets.SOURCES)} or files below"
            f" {FOLDER.as_posix()}, which may have wildcards, got {pattern!r}"
        )
    # not that of Path, which finds files that begin with a dot, and raises for some patterns
    found = [pattern] if Path(pattern).exists() else glob(pattern, recursive=True)  # noqa: PTH207
    files = sorted(path for path in map(Path, found) if path.is_file() and path.suffix != ".dvc")
    if not files:
        raise InputError(f"load.dataset: no file matches {pattern}")
    return files


def choose(parts: Sequence[Source], config: Load) -> tuple[Sequence[str], str]:
    """Return the columns to predict from, all others if none are named, and the target."""
    target, keys, first = config.target, config.keys, parts[0]
    if target is None:
        what = f"the column of {first.name} to predict, one of {join(first.columns)}"
        raise InputError(f"load.target must name {what}")
    others = {target, *keys, *first.unnamed}
    features = config.features or [each for each in first.columns if each not in others]
    if len(features) > MOST:
        raise InputError(
            f"{first.name}: {len(features):,} columns to predict from, at most {MOST:,} are"
            " allowed: list some in load.features"
        )
    chosen = [*features, *keys, target]
    for part in parts:
        source.check(part, dict.fromkeys(chosen))
    if odd := [name for name in chosen if not name.isprintable()]:
        raise InputError(f"{first.name}: {odd[0]!r} cannot be the name of a column")
    counts = Counter(map(str.lower, chosen))  # as SQL sees no case
    if twins := [name for name in chosen if counts[name.lower()] > 1]:
        raise InputError(
            f"{first.name}: load.features, load.key and load.target must be different columns,"
            f" in more than case, got {join(twins)}"
        )
    return features, target


def survey(
    part: Source, names: Sequence[str], keys: Sequence[str], on: Engine
) -> tuple[int, Counts]:
    """Count the rows, and for each column and kind the values that are not of that kind.

    All values count as not of 'text', so that its count is that of all values.
    """
    cases = [*product(names, KINDS), *((key, "key") for key in keys)]
    filters = [f"count(*) FILTER (WHERE {unfit(part, *case)})" for case in cases]
    n_rows, counts = aggregate(filters, Rows(part.relation), on)
    return n_rows, Counter(dict(zip(cases, counts, strict=True)))


def choose_kind(name: str, parts: Sequence[Source], counts: Counts) -> tuple[str, str]:
    """Return what a column holds, or why it can be neither an input nor the target.

    It holds what its type says, or in CSV what at least half of its values are. All values of a
    boolean are: true and false can be two of many texts.
    """
    odd = [part.type_of(name) for part in parts if not part.kind_of(name)]
    values = counts[name, "text"]
    if not name or odd or not values:
        why = f"its type is {odd[0]}" if odd else "it has no values"
        return "", why if name else "it has no name"
    if parts[0].kind != "csv":
        return str(parts[0].kind_of(name)), ""
    allowed = {"number": values // 2, "boolean": 0, "date": values // 2}
    return next((kind for kind, most in allowed.items() if counts[name, kind] <= most), "text"), ""


def unfit(part: Source, name: str, kind: str) -> str:
    """Return the test that a value is there, and not of a kind; text of CSV has all kinds in it."""
    present, is_typed = part.present(name), part.kind_of(name) == kind
    if kind == "key":  # which must not be empty
        is_key = part.kind == "csv" or KEY.fullmatch(part.type_of(name))
        return f"NOT ({present})" if is_key else "TRUE"
    if kind == "text" or not (is_typed or (part.kind_of(name) == "text" and part.kind == "csv")):
        return present
    if kind == "number" and is_typed:
        n = part.cast(name, kind)
        return f"NOT (abs({n}) BETWEEN {SMALLEST} AND {LARGEST} OR {n} = 0 OR isnan({n}))"
    return part.unreadable(name, kind)


def refuse(
    part: Source, kinds: Mapping[str, str], total: int, features: Sequence[str], on: Engine
) -> NoReturn:
    """Say which row is the first with an empty key or a value not of its kind."""
    tests = {name: unfit(part, name, kind) for name, kind in kinds.items()}
    keys = [name for name, kind in kinds.items() if kind == "key"]
    by = keys if part.kind == "sql" else ()  # a file has an order
    bad = " OR ".join(tests.values())
    place, name = source.first_bad(part, part.relation, bad, tests, on.rows, by)
    rule = f"must be {FIT[kinds[str(name)]]}"
    advice = ", or be left out of load.features" if name in features else ""
    raise InputError(f"{part.name}: {place}, {rule}{advice} ({plural(total, 'bad value')} in all)")


def unite(parts: Iterable[Source], kinds: Mapping[str, str], drawn: bool, on: Engine) -> Rows:
    """Return all rows, each column as what it holds."""
    queries = []
    for index, part in enumerate(parts):
        values = [
            f"{part.value(name, kind)} AS {on.dialect.identifier(name)}"
            for name, kind in kinds.items()
        ]
        source = part.relation
        if drawn:
            values.append(f"drawn.{PLACE}")
            source += f" POSITIONAL JOIN places{index} AS drawn"
        queries.append(Rows(source).select(values))
    return Rows(f"({' UNION ALL '.join(queries)}) AS t")


def check_repeated(keys: Sequence[str], rows: Rows, on: Engine) -> None:
    """Refuse keys that more than one row has."""
    columns = [*map(on.dialect.column, keys)]
    counts = ["count(*) AS n", "count(*) OVER () AS more"]
    by, query = ", ".join(columns), rows.select([*columns, *counts])
    repeated = on.rows(f"{query} GROUP BY {by} HAVING count(*) > 1 ORDER BY {by} LIMIT 1")
    for *values, n_rows, more in repeated:
        many = f"{n_rows:,} rows have {source.name_key(keys, values)}"
        raise InputError(
            f"{on.name}: load.key must be unique, {many} ({plural(more, 'such key')} in all)"
        )
