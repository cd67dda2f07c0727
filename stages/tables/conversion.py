"""Files of CSV as Parquet: a column as numbers where all of its values are, else as texts."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from stages.columns.engine import DuckDB
from stages.columns.source import Source
from stages.columns.sql import literal, literals
from stages.tables.relation import Rows, aggregate, read_parquet

FIRST = 1000  # rows, by which columns of texts are guessed
TYPES = {"number": "DOUBLE", "boolean": "BOOLEAN", "date": "TIMESTAMP WITH TIME ZONE"}


def convert(
    parts: Sequence[Source],
    columns: Sequence[str],
    texts: Collection[str],
    folder: Path,
    on: DuckDB,
) -> tuple[list[Source], Mapping[str, Mapping[str, int]]]:
    """Return columns of CSV from Parquet in `folder`; those in `texts` stay texts.

    Return also for each column how often which marker of a gap is in it. Files are read once, and
    once more if a column that began with numbers has other values, to keep how its numbers are
    written.
    """
    copies = [folder / f"{index}.parquet" for index in range(len(parts))]
    written, markers = Rows(read_parquet(*copies)), literals("", *parts[0].na)
    as_text = {*texts} | _guess_texts(parts[0], columns, on)
    while True:
        numbers = [name for name in columns if name not in as_text]
        for part, copy in zip(parts, copies, strict=True):
            query = Rows(part.relation).select(_list_values(part, columns, numbers))
            on.copy(query, len(columns), copy, "uncompressed")
        cells = {name: f"c{columns.index(name)}" for name in columns if name in as_text}
        _, (n_others,) = aggregate(["count(others)"], written, on)
        for place, name in enumerate(numbers if n_others else (), 1):
            cells[name] = f"CASE WHEN c{columns.index(name)} IS NULL THEN others[{place}] END"
        others = {name: x for name, x in cells.items() if name in numbers}
        counted = [f"count({x}) FILTER ({x} NOT IN {markers})" for x in others.values()]
        _, counts = aggregate(counted, written, on)
        if not any(counts):
            break
        as_text |= {name for name, count in zip(others, counts, strict=True) if count}
    _, found = aggregate(
        [f"histogram({x}) FILTER ({x} IN {markers})" for x in cells.values()], written, on
    )
    types = ["VARCHAR" if name in as_text else "DOUBLE" for name in columns]
    converted = [
        dataclasses.replace(part, rows=_read(copy), columns=columns, types=types)
        for part, copy in zip(parts, copies, strict=True)
    ]
    gaps = dict(zip(cells, found, strict=True))
    return converted, {name: gaps[name] for name in columns if gaps.get(name)}


def _read(copy: Path) -> str:
    return f"read_parquet({literal(str(copy))})"


def store(
    parts: Sequence[Source], kinds: Mapping[str, str], folder: Path, on: DuckDB
) -> list[Source]:
    """Return columns as what they hold, read once for all that follows."""
    stored = []
    for index, part in enumerate(parts):
        kept = {name: kinds.get(name) or "text" for name in part.columns}
        values = [
            f"{part.value(name, kind)} AS c{j}" for j, (name, kind) in enumerate(kept.items())
        ]
        copy = folder / f"values{index}.parquet"
        on.copy(Rows(part.relation).select(values), len(values), copy, "uncompressed")
        types = [TYPES.get(kind, "VARCHAR") for kind in kept.values()]
        stored.append(dataclasses.replace(part, rows=_read(copy), types=types))
    return stored


def _guess_texts(part: Source, columns: Sequence[str], on: DuckDB) -> set[str]:
    """Return the columns that have something else than numbers in the first rows."""
    tests = [f"count(*) FILTER ({part.unreadable(name, 'number')})" for name in columns]
    first = Rows(f"(SELECT * FROM {part.relation} LIMIT {FIRST}) AS t")
    _, counts = aggregate(tests, first, on)
    return {name for name, count in zip(columns, counts, strict=True) if count}


def _list_values(part: Source, columns: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """Return c0, c1, … as SQL; where one of `numbers` is none, `others` has all of their texts."""
    casts = {
        name: part.cast(name, "number") if name in numbers else part.text(name) for name in columns
    }
    values = [f"{cast} AS c{j}" for j, cast in enumerate(casts.values())]
    is_odd = " OR ".join(["FALSE", *(f"{casts[name]} IS NULL" for name in numbers)])
    texts = ", ".join(map(part.text, numbers))
    return [*values, f"CASE WHEN {is_odd} THEN [{texts}] END AS others"]
