"""Gather a table that stays where it is: a file with one SELECT, which Spark runs.

The kinds of its columns are those of their types in SQL. Its rows have no order, so that a key
must say where each goes.
"""

from dataclasses import replace

from stages.project.cli import InputError, plural
from stages.project.params import Load
from stages.project.text import named
from stages.tables import engine, raw, source, spark
from stages.tables.encoding import Gathered
from stages.tables.inputs import MUST_BE
from stages.tables.source import Source
from stages.tables.table import LARGEST, OWN_UNIT, SMALLEST, VIEW, aggregates

VALUES = {
    "number": "CASE WHEN NOT isnan(CAST({0} AS DOUBLE)) THEN CAST({0} AS DOUBLE) END",
    "boolean": "{0}",
    "date": "CAST({0} AS TIMESTAMP)",
    "text": "nullif(CAST({0} AS STRING), '')",
}


def gather(config: Load) -> Gathered:
    """Make the SELECT in the file `config.dataset` the view VIEW, as `raw.gather` does with files.

    Raises
    ------
    InputError
        The server cannot run it, there is no such column, a value is not of the kind of its column,
        or a key names no single row.
    """
    path, keys = config.dataset, config.keys
    if not keys:
        raise InputError(f"{path}: load.key must name its rows, as they have no order")
    file, *more = raw.find(path)
    if more:
        raise InputError(f"load.dataset: {path} matches {file} and others, must be one SELECT")
    text = file.read_text(encoding="utf-8", errors="replace").strip().removesuffix(";")
    spark_ = spark.connected(path)
    columns, types = spark_.described(f"SELECT * FROM (\n{text}\n) AS t LIMIT 0")
    it = Source(spark_.name, "sql", columns, types)
    names, target = raw.chosen(columns, it.name, config)
    source.check(columns, it.name, [*names, target, *keys])
    kinds = {name: it.kind_of(name) for name in names}
    left_out = {name: f"its type is {it.column(name)[1]}" for name in names if not kinds[name]}
    left_out |= {"": "it has no name"} if "" in names else {}
    stored = {name: kind for name, kind in kinds.items() if kind and name}
    raw.check_key_types(keys, it)
    if it.kind_of(target) != "number":
        sort = it.column(target)[1]
        raise InputError(
            f"{it.name}: {named(target)} must be {MUST_BE['number']}, its type is {sort}"
        )
    every = stored | {target: "number"} | dict.fromkeys(keys, "text")
    values = {name: VALUES[kind].format(it.column(name)[0]) for name, kind in every.items()}
    relation = f"FROM (\n{text}\n) AS t({', '.join(f'c{j}' for j in range(len(columns)))})"

    # counts of values that are there, and of those that cannot be used
    present = [values[name] if stored[name] == "text" else it.column(name)[0] for name in stored]
    unfit = {
        name: f"{x} IS NULL"
        if name in keys
        else f"{x} <> 0 AND NOT abs({x}) BETWEEN {SMALLEST} AND {LARGEST}"
        for name, x in values.items()
        if name in keys or every[name] == "number"
    }
    counts = [f"count({x})" for x in present]
    counts += [f"count(*) FILTER (WHERE {test})" for test in unfit.values()]
    n_rows, found = aggregates(spark_, counts, relation)
    if not n_rows:
        raise InputError(f"{it.name} has no rows")
    for (name, test), bad in zip(unfit.items(), found[len(stored) :], strict=True):
        if bad:
            shown = {f"v{i}": values[each] for i, each in enumerate([name, *keys])}
            cells = ", ".join(f"{x} AS {alias}" for alias, x in shown.items())
            order = ", ".join([*shown][1:])
            query = f"SELECT {cells} {relation} WHERE {test} ORDER BY {order} LIMIT 1"
            [(value, *key)] = spark_.rows(query)
            rule = "must name the row" if name in keys else f"must be {raw.FIT['number']}"
            raise InputError(
                f"{it.name}: {named(name)} is {engine.cell(value)} where {raw.pairs(keys, key)},"
                f" {rule} ({plural(bad, 'bad row')} in all)"
            )
    left_out |= {
        name: "it has no values" for name, count in zip(stored, found, strict=False) if not count
    }
    columns_ = ", ".join(f"{x} AS {spark_.dialect.identifier(n)}" for n, x in values.items())
    there = replace(spark_, view=f"WITH {VIEW} AS (SELECT {columns_} {relation})\n")
    raw.check_repeated(keys, there)
    inputs = {name: kind for name, kind in stored.items() if name not in left_out}
    return Gathered(there, path, target, config.unit or OWN_UNIT, inputs, left_out, n_rows)
