"""Files of CSV as Parquet: a column as numbers where all of its values are, else as texts."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from stages.columns.engine import DuckDB
from stages.columns.source import Source
from stages.columns.sql import literal, literals
from stages.tables.relation import Engine, Rows, aggregate, read_parquet

FIRST = 1000  # rows, by which columns of texts are guessed
TYPES = {"number": "DOUBLE", "boolean": "BOOLEAN", "date": "TIMESTAMP WITH TIME ZONE"}
Test = TypeVar("Test")


def count(tests: Mapping[Test, str], rows: Rows, on: Engine) -> tuple[int, Counter[Test]]:
    """Count the rows, and those that meet each test."""
    filters = [f"count(*) FILTER (WHERE {sql})" for sql in tests.values()]
    n_rows, counts = aggregate(filters, rows, on)
    return n_rows, Counter(dict(zip(tests, counts, strict=True)))


def first_rows(part: Source) -> Rows:
    return Rows(f"(SELECT * FROM {part.relation} LIMIT {FIRST}) AS t")


def convert(
    parts: Sequence[Source], columns: Sequence[str], texts: set[str], folder: Path, on: DuckDB
) -> tuple[list[Source], list[tuple[str, str, int]]]:
    """Return columns of CSV from Parquet in `folder`; those in `texts` stay texts.

    Return also in which column which marker of a gap is in how many rows. Files are read once, and
    once more if a column that began with numbers has other values, to keep how its numbers are
    written.
    """
    tests = {name: parts[0].unreadable(name, "number") for name in columns if name not in texts}
    _, counts = count(tests, first_rows(parts[0]), on)
    numbers = [name for name in tests if not counts[name]]
    types = ["DOUBLE" if name in numbers else "VARCHAR" for name in columns]
    copies = [folder / f"{index}.parquet" for index in range(len(parts))]
    converted = []
    for part, copy in zip(parts, copies, strict=True):
        query = Rows(part.relation).select(_list_values(part, columns, numbers))
        on.copy(query, len(columns), copy, "uncompressed")
        rows = f"read_parquet({literal(str(copy))})"
        converted.append(dataclasses.replace(part, rows=rows, columns=columns, types=types))
    written, markers = Rows(read_parquet(*copies)), literals("", *parts[0].na)
    odd = written.only("others IS NOT NULL")
    others = {name: f"others[{place}]" for place, name in enumerate(numbers, 1)}
    _, counts = count({name: f"{x} NOT IN {markers}" for name, x in others.items()}, odd, on)
    if more := [name for name in numbers if counts[name]]:
        return convert(parts, columns, texts.union(more), folder, on)
    cells = {name: f"c{j}" for j, name in enumerate(columns) if name not in numbers}
    gaps: dict[str, dict[str, int] | None] = {}
    for among, values in ((written, cells), (odd, others)):
        histograms = [f"histogram({x}) FILTER ({x} IN {markers})" for x in values.values()]
        gaps |= zip(values, aggregate(histograms, among, on)[1], strict=True)
    return converted, [(name, *gap) for name in columns for gap in (gaps[name] or {}).items()]


def store(
    parts: Sequence[Source], kinds: Mapping[str, str], folder: Path, on: DuckDB
) -> list[Source]:
    """Return columns as what they hold, read once for all that follows."""
    types, stored = [TYPES.get(kind, "VARCHAR") for kind in kinds.values()], []
    for index, part in enumerate(parts):
        copy = folder / f"values{index}.parquet"
        values = [f"{part.value(*column)} AS c{j}" for j, column in enumerate(kinds.items())]
        on.copy(Rows(part.relation).select(values), len(values), copy, "uncompressed")
        rows = f"read_parquet({literal(str(copy))})"
        stored.append(dataclasses.replace(part, rows=rows, types=types))
    return stored


def _list_values(part: Source, columns: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """Return c0, c1, … as SQL; where one of `numbers` is none, `others` has its text."""
    casts = {name: part.cast(name, "number") for name in numbers}
    values = [f"{casts.get(name, part.text(name))} AS c{j}" for j, name in enumerate(columns)]
    is_odd = " OR ".join(["FALSE", *(f"{x} IS NULL" for x in casts.values())])
    odd = (f"CASE WHEN {x} IS NULL THEN {part.text(name)} END" for name, x in casts.items())
    return [*values, f"CASE WHEN {is_odd} THEN [{', '.join(odd)}] END AS others"]
