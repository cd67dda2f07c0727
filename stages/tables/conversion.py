"""Files of CSV as Parquet: a column as numbers where all of its values are, else as texts."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from stages.columns.engine import DuckDB
from stages.columns.source import Source
from stages.columns.sql import literal
from stages.tables.relation import Rows, aggregate, read_parquet

FIRST = 1000  # rows, by which columns of texts are guessed


def convert(
    parts: Sequence[Source],
    columns: Sequence[str],
    texts: Collection[str],
    folder: Path,
    on: DuckDB,
) -> list[Source]:
    """Return columns of CSV from Parquet in `folder`; those in `texts` stay texts.

    Files are read once, and once more if a column that began with numbers has other values, to
    keep how its numbers are written.
    """
    copies = [folder / f"{index}.parquet" for index in range(len(parts))]
    as_text = {*texts} | _guess_texts(parts[0], columns, on)
    while True:
        numbers = [name for name in columns if name not in as_text]
        for part, copy in zip(parts, copies, strict=True):
            query = Rows(part.relation).select(_list_values(part, columns, numbers))
            on.copy(query, len(columns), copy, "uncompressed")
        others = [
            f"count(CASE WHEN c{columns.index(name)} IS NULL THEN others[{place}] END)"
            for place, name in enumerate(numbers, 1)
        ]
        _, counts = aggregate(others, Rows(read_parquet(*copies)), on)
        if not any(counts):
            break
        as_text |= {name for name, count in zip(numbers, counts, strict=True) if count}
    types = ["VARCHAR" if name in as_text else "DOUBLE" for name in columns]
    return [
        dataclasses.replace(
            part, rows=f"read_parquet({literal(str(copy))})", columns=columns, types=types
        )
        for part, copy in zip(parts, copies, strict=True)
    ]


def _guess_texts(part: Source, columns: Sequence[str], on: DuckDB) -> set[str]:
    """Return the columns that have something else than numbers in the first rows."""
    tests = [f"count(*) FILTER ({part.unreadable(name, 'number')})" for name in columns]
    first = Rows(f"(SELECT * FROM {part.relation} LIMIT {FIRST}) AS t")
    _, counts = aggregate(tests, first, on)
    return {name for name, count in zip(columns, counts, strict=True) if count}


def _list_values(part: Source, columns: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """Return c0, c1, … as SQL; where one of `numbers` is none, `others` has all of their texts."""
    casts = {name: part.cast(name, "number" if name in numbers else "text") for name in columns}
    values = [f"{cast} AS c{j}" for j, cast in enumerate(casts.values())]
    if numbers:
        is_odd = " OR ".join(f"{casts[name]} IS NULL" for name in numbers)
        texts = ", ".join(part.cast(name, "text") for name in numbers)
        values.append(f"CASE WHEN {is_odd} THEN [{texts}] END AS others")
    return values
