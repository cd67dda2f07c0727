"""The predictor's test of itself, on sample rows whose predictions the pipeline recorded."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from stages.columns import engine
from stages.columns.source import opened
from stages.predictor.document import Predictor
from stages.predictor.scoring import Request
from stages.project.cli import InputError
from stages.project.files import SAMPLE_COLUMNS, existing

HALF = 0.5e-6  # of the last decimal that was recorded
LOST = 1e-14  # by doubles, as a share of their size


def predict(path: Path, model: Predictor) -> list[tuple[Any, ...]]:
    """Return for each row at `path` its prediction, the columns read, and what was recorded."""
    kinds = {**model.schema.kinds, **dict.fromkeys(SAMPLE_COLUMNS, "number")}
    with (
        existing(path).open("rb") as file,
        engine.connected(str(path)) as connection,
        opened(file.fileno(), str(path), kinds, connection) as source,
    ):
        query = Request(source, model, skip=False, only=True, connection=connection).rows()
        cells = (
            source.value(name, kind) if kind == "number" else source.column(name)[0]
            for name, kind in kinds.items()
        )
        rows = connection.execute(f"SELECT p, {', '.join(cells)} FROM ({query})").fetchall()
    numbers = [number for row in rows for number in (row[0], *row[-len(SAMPLE_COLUMNS) :])]
    if not rows or not all(number is not None and isfinite(number) for number in numbers):
        raise InputError(f"{path} is damaged; `dvc repro` makes it")
    return rows


def differing(rows: Sequence[tuple[Any, ...]]) -> int:
    """Count the rows whose prediction or error is not the recorded one."""
    return sum(
        max(abs(p - quantized), abs(p - actual - error)) > HALF + LOST * (1 + abs(p) + abs(actual))
        for p, *_, actual, _, quantized, error in rows
    )


def report(model: Predictor, rows: Sequence[tuple[Any, ...]], scores: Mapping[str, Any]) -> str:
    """Return the rows as a table, and the statistics of the predictions."""
    y = [row[0] for row in rows]
    table = [[*model.schema.kinds, *SAMPLE_COLUMNS]]
    for p, *cells, actual, unquantized, _, _ in rows:
        numbers = (actual, unquantized, p, p - actual)
        table.append([*map(_cell, cells), *map("{:.6f}".format, numbers)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        f"Sample predictions: [{', '.join(map('{:.3f}'.format, y[:5]))}]",
        f"{model.target}, in {model.unit}:",
        *("  ".join(map(str.rjust, cells, widths)) for cells in table),
    ]
    here = {"mean": fmean(y), "std": pstdev(y), "min": min(y), "max": max(y)}
    recorded = scores["quantized"]["test"]
    both = {f"these {len(rows)} predictions": here, "all test rows, as recorded": recorded}
    for what, found in both.items():
        lines.append(f"{what}: " + ", ".join(f"{name} {found[name]:.4f}" for name in here))
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
