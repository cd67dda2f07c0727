"""The files that the stages hand on: where they lie, and writing them whole or not at all."""

import csv
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.project import cli
from stages.project.cli import InputError

TRAIN = Path("data/train")
TEST = Path("data/test")
SUMS = Path("models/sums.json")
MODEL = Path("models/model.joblib")
UNQUANT_PARAMS = Path("models/unquant_params.joblib")
QUANT_PARAMS = Path("models/quant_params.joblib")
PREDICTOR = Path("models/predictor.json")
METRICS = Path("reports/metrics.json")
SCORES = Path("reports/scores.json")
PREDICTIONS = Path("reports/predictions.csv")
PLOTS = Path("reports/plots")
PAGE = Path("reports/model.html")

DECIMALS = 6  # of the reports
SAMPLE_COLUMNS = ("actual", "float", "quantized", "error")  # behind the features in PREDICTIONS


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder, which is removed in the end, also by a signal.

    Its name is its own, so that no other file, and no other run, is in the way.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f".{secrets.token_hex(8)}.part"
    with cli.ending(lambda: shutil.rmtree(folder, ignore_errors=True)):
        folder.mkdir()
        yield folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file to write to; it takes the place of `path` once the block has succeeded."""
    with temporary_folder(path.parent) as scratch:
        part = scratch / "new"
        part.touch(0o600 if path.exists() else 0o666)
        yield part
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to write to; it takes the place of `path` once the block has succeeded."""
    with temporary_folder(path.parent) as scratch:
        part, old = scratch / "new", scratch / "old"
        part.mkdir()
        yield part

        def put_back() -> None:
            if old.exists() and not path.exists():
                old.rename(path)

        with cli.ending(put_back):
            if os.path.lexists(path):
                path.rename(old)
            part.rename(path)


def save_json(document: Mapping[str, Any], path: Path) -> None:
    """Write `document` in its own key order; NaN and infinity are refused, JSON has none."""
    with replacing(path) as part:
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8", newline="\n")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make whatever a damaged file at `path` leads to an `InputError` that names it."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged, `dvc repro` makes it: {error!r}") from error


def existing(path: Path) -> Path:
    """Return the path of what a stage wrote, if it is there."""
    if not path.exists():
        raise InputError(f"{path} does not exist; `dvc repro` makes it")
    return path


def load_json(path: Path) -> Any:
    """Read JSON that a stage wrote; an `InputError` says that it is not there, or damaged."""
    text = existing(path).read_bytes()
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # nested too deep
        raise InputError(f"{path} is damaged, `dvc repro` makes it: not JSON: {error}") from error


def _finite(text: str) -> float:
    if math.isfinite(x := float(text)):
        return x
    raise ValueError(f"{text} is not a finite number")


def save_csv(header: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def save_joblib(value: Any, path: Path) -> None:
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
