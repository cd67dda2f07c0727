"""Gather a table that stays where it is: a file with one SELECT, which Spark runs.

The kinds of its columns are those of their types in SQL. Its rows have no order, so that a key
must say where each goes.
"""

from dataclasses import replace

from stages.columns import engine, source
from stages.columns.inputs import MUST_BE
from stages.columns.source import Source
from stages.project.cli import InputError, plural
from stages.project.params import Load
from stages.project.text import named
from stages.tables import raw, spark
from stages.tables.encoding import Gathered
from stages.tables.table import LARGEST, OWN_UNIT, SMALLEST, VIEW, aggregates

VALUES = {
    "number": "CASE WHEN NOT isnan(CAST({0} AS DOUBLE)) THEN CAST({0} AS DOUBLE) END",
    "boolean": "{0}",
    "date": "CAST({0} AS TIMESTAMP)",
    "text": "nullif(CAST({0} AS STRING), '')",
}


def gather(config: Load) -> Gathered:
    """Make the SELECT in the file `config.dataset` the view VIEW, as `raw.gather` does with files.

    An `InputError` says that the server cannot run it, that there is no such column, that a value
    is not of the kind of its column, or that a key names no single row.
    """
    path, keys = config.dataset, config.keys
    if not keys:
        raise InputError(f"{path}: load.key must name its rows, as they have no order")
    file, *more = raw.find(path)
    if more:
        raise InputError(f"load.dataset: {path} matches {file} and others, must be one SELECT")
    text = file.read_text(encoding="utf-8", errors="replace").strip().removesuffix(";")
    on = spark.connected(path)
    columns, types = on.described(f"SELECT * FROM (\n{text}\n) AS t LIMIT 0")
    it = Source(on.name, "sql", columns, types)
    names, target = raw.chosen(columns, it.name, config)
    source.check(columns, it.name, [*names, target, *keys])
    raw.check_key_types(keys, it)
    if it.kind_of(target) != "number":
        must_be = f"must be {MUST_BE['number']}, its type is {it.type_of(target)}"
        raise InputError(f"{it.name}: {named(target)} {must_be}")
    kinds = {name: kind for name in names if (kind := it.kind_of(name)) and name}
    left_out = {
        name: f"its type is {it.type_of(name)}" if name else "it has no name"
        for name in names
        if name not in kinds
    }
    every = kinds | {target: "number"} | dict.fromkeys(keys, "text")
    values = {name: VALUES[kind].format(it.column(name)) for name, kind in every.items()}
    relation = f"FROM (\n{text}\n) AS t({', '.join(f'c{j}' for j in range(len(columns)))})"

    # counts of values that are there, and of those that cannot be used
    present = [values[name] if kind == "text" else it.column(name) for name, kind in kinds.items()]
    too_far = f"{{0}} <> 0 AND NOT abs({{0}}) BETWEEN {SMALLEST} AND {LARGEST}"
    unfit = {name: too_far.format(values[name]) for name in every if every[name] == "number"}
    unfit |= {name: f"{values[name]} IS NULL" for name in keys}
    counts = [f"count({x})" for x in present]
    counts += [f"count(*) FILTER (WHERE {test})" for test in unfit.values()]
    n_rows, found = aggregates(on, counts, relation)
    if not n_rows:
        raise InputError(f"{it.name} has no rows")
    for (name, test), bad in zip(unfit.items(), found[len(kinds) :], strict=True):
        if bad:
            cells = ", ".join(f"{values[x]} AS v{i}" for i, x in enumerate([name, *keys]))
            order = ", ".join(f"v{i}" for i, _ in enumerate(keys, 1))
            [(value, *key)] = on.rows(
                f"SELECT {cells} {relation} WHERE {test} ORDER BY {order} LIMIT 1"
            )
            rule = "must name the row" if name in keys else f"must be {raw.FIT['number']}"
            raise InputError(
                f"{it.name}: {named(name)} is {engine.cell(value)} where {raw.pairs(keys, key)},"
                f" {rule} ({plural(bad, 'bad row')} in all)"
            )
    empty = [name for name, count in zip(kinds, found, strict=False) if not count]
    left_out |= dict.fromkeys(empty, "it has no values")
    kinds = {name: kind for name, kind in kinds.items() if name not in empty}
    selected = ", ".join(f"{x} AS {on.dialect.identifier(name)}" for name, x in values.items())
    there = replace(on, view=f"WITH {VIEW} AS (SELECT {selected} {relation})\n")
    raw.check_repeated(keys, there)
    return Gathered(there, path, target, config.unit or OWN_UNIT, kinds, left_out, n_rows)
