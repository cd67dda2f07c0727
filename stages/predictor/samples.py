"""The predictor's test of itself, on sample rows whose predictions the pipeline recorded."""

import csv
from pathlib import Path
from statistics import fmean, pstdev

from stages.columns import engine
from stages.columns.source import detect
from stages.predictor import document
from stages.predictor.document import Predictor
from stages.predictor.scoring import Request
from stages.project.files import PREDICTIONS, SAMPLE_COLUMNS, SCORES, reading

HALF = 0.5e-6  # of the last decimal that was recorded
LOST = 1e-14  # by doubles, as a share of their size


def predict_samples(model: Predictor, root: Path) -> tuple[str, int]:
    """Return a report on the sample rows, and how many of them differ.

    A row differs if its prediction or its error is not the recorded one.
    """
    path, kinds = root / PREDICTIONS, model.schema.kinds
    table, y, statistics, differing = [[*kinds, *SAMPLE_COLUMNS]], [], [], 0
    with reading(path), engine.connect(str(path)) as connection:
        request = Request(detect(path, str(path), kinds, connection), model, connection)
        predictions = engine.execute(connection, f"SELECT p FROM ({request.rows()})")
        with path.open(encoding="utf-8", newline="") as file:
            for (p,), row in zip(predictions, csv.DictReader(file), strict=True):
                actual, unquantized, quantized, error = (float(row[x]) for x in SAMPLE_COLUMNS)
                allowed = HALF + LOST * (1 + abs(p) + abs(actual))
                differing += max(abs(p - quantized), abs(p - actual - error)) > allowed
                y.append(p)
                cells = [
                    f"{float(row[name]):.6g}" if kind == "number" and row[name] else row[name]
                    for name, kind in kinds.items()
                ]
                numbers = (actual, unquantized, p, p - actual)
                table.append([*cells, *map("{:.6f}".format, numbers)])
        here = {"mean": fmean(y), "std": pstdev(y), "min": min(y), "max": max(y)}
    with reading(root / SCORES):
        recorded = document.load_scores(root)["quantized"]["test"]
        for what, found in (f"these {len(y)}", here), ("all test rows, as recorded", recorded):
            statistics.append(f"{what}: {', '.join(f'{x} {found[x]:.4f}' for x in here)}")
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        f"Sample predictions: [{', '.join(map('{:.3f}'.format, y[:5]))}]",
        f"{model.target}, in {model.unit}:",
        *("  ".join(map(str.rjust, cells, widths)) for cells in table),
        *statistics,
    ]
    return "\n".join(lines), differing
