"""The files that the stages hand on: where they lie, and writing them whole or not at all."""

import csv
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from stages.project.cli import InputError
from stages.project.typed import convert

T = TypeVar("T")

TRAIN = Path("data/train")
TEST = Path("data/test")
SUMS = Path("models/sums.json")
MODEL = Path("models/model.joblib")
UNQUANT_PARAMS = Path("models/unquant_params.joblib")
QUANT_PARAMS = Path("models/quant_params.joblib")
PREDICTOR = Path("models/predictor.json")
METRICS = Path("reports/metrics.json")
SCORES = Path("reports/scores.json")
COEFFICIENTS = Path("reports/coefficients.csv")
PREDICTIONS = Path("reports/predictions.csv")
PLOTS = Path("reports/plots")
PAGE = Path("reports/model.html")
CARD = Path("reports/README.md")

DECIMALS = 6  # of the reports
SAMPLE_COLUMNS = ("actual", "float", "quantized", "error")  # behind the features in PREDICTIONS


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder, which is removed in the end; no other file or run has its name."""
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(".part", ".", parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write a file or a folder, which replaces `path` if the block succeeds."""
    with temporary_folder(path.parent) as scratch:
        part = scratch / "new"
        yield part
        if path.exists():
            shutil.copymode(path, part)
        if path.is_dir():  # which nothing replaces while it has files
            path.rename(scratch / "old")
        part.replace(path)


def save_json(document: object, path: Path) -> None:
    """Write a document, which may have `Struct`s; NaN and infinity are refused, JSON has none."""
    with replacing(path) as part:
        built = msgspec.to_builtins(document)
        text = json.dumps(built, indent=2, allow_nan=False, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8", newline="\n")


def save_csv(header: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def load_csv(path: Path) -> list[dict[str, str]]:
    """Read CSV that a stage wrote, by the names in its header; for errors see `reading`."""
    with reading(path), path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def save_joblib(value: object, path: Path) -> None:
    import joblib  # here, as the image has no joblib

    with replacing(path) as part:
        joblib.dump(value, part)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make whatever goes wrong with a file of another stage an `InputError` that names it."""
    if not path.exists():
        raise InputError(f"{path.as_posix()} does not exist; `dvc repro` makes it")
    try:
        yield
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # unpickling damaged bytes may raise anything
        what, *_ = (str(error) if isinstance(error, ValueError) else repr(error)).splitlines()
        raise InputError(f"{path.as_posix()} is damaged, `dvc repro` makes it: {what}") from error


def load_json(path: Path, kind: type[T]) -> T:
    """Read JSON that a stage wrote, as a `kind`; for errors see `reading`."""
    with reading(path):
        return convert(msgspec.json.decode(path.read_bytes()), kind)
