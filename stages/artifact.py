"""The files that the stages hand on: where they lie, and writing them whole or not at all."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.cli import InputError

TRAIN = Path("data/train.parquet")
TEST = Path("data/test.parquet")
MODEL = Path("models/model.joblib")
UNQUANT_PARAMS = Path("models/unquant_params.joblib")
QUANT_PARAMS = Path("models/quant_params.joblib")
PREDICTOR = Path("models/predictor.json")
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.csv")
PLOTS = Path("reports/plots")

DECIMALS = 6  # of the reports
SAMPLE_COLUMNS = ("actual", "float", "quantized", "error")  # behind the features in PREDICTIONS


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it takes the place of `path` once the block has succeeded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def save_json(document: Mapping[str, Any], path: Path) -> None:
    """Write `document` in its own key order; NaN and infinity are refused, JSON has none."""
    with replacing(path) as part:
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8", newline="\n")


def save_csv(header: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write `rows` under `header`."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def save_joblib(value: Any, path: Path) -> None:
    """Pickle `value` with joblib."""
    import joblib

    with replacing(path) as part:
        joblib.dump(value, part)


def load_joblib(path: Path) -> Any:
    """Unpickle what an earlier stage wrote; never a file from elsewhere."""
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise InputError(f"{path} cannot be read, `dvc repro` makes it: {error!r}") from error
