"""A model whose weights are worked by hand, and `predict` in this process or in one of its own."""

import csv
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stages import predict
from stages.predictor import document
from stages.project import cli
from tests.conftest import csv_of

REPOSITORY = Path(predict.__file__).parent.parent
NAMES = ("Income", 'é "q", x + y - z', "select")
COEF = (0.5, -0.8125, 12.0)  # (2 · code - 255) · 2^-exponent
FEATURES = [(-10, 10, 128, 1), (0, 100, 121, 4), (-1e6, 1e6, 129, -2)]
MODEL = {
    "format": "regression predictor",
    "version": 5,
    "dataset": "made up",
    "target": "y",
    "missing": "fail",
    "levels": {},
    "bits": 8,
    "intercept": {"number": -13, "exponent": 5},
    "features": [
        {"column": name, "kind": "number", "min": low, "max": high, "code": code, "exponent": e}
        for name, (low, high, code, e) in zip(NAMES, FEATURES, strict=True)
    ],
}
SCORES = {"half_widths": {"0.5": 0.34, "0.8": 0.7, "0.9": 0.98, "0.95": 1.3}}
ROWS = [[1.5, 10.0, -3.25], [0.1, 0.2, 0.3], [-9.75, 99.5, 1e5]]


def oracle(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Add the terms from left to right, as numpy does it, beginning with the intercept."""
    total = np.full(len(rows), -0.40625)
    for weight, column in zip(COEF, np.array(rows, dtype=float).T, strict=True):
        total = total + weight * column
    return total


def as_csv(rows: Sequence[Sequence[object]], header: Sequence[str] = NAMES) -> str:
    return csv_of(header, *rows)


def predictions(text: str) -> list[float]:
    return [float(row["prediction"]) for row in csv.DictReader(io.StringIO(text, newline=""))]


@dataclass
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


def refused(result: Result, *words: str) -> None:
    """Check that a command has ended with one line for a mistake."""
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    for word in ("predict: ", *words):
        assert word in result.err


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that the image has, as the pipeline would."""
    root = tmp_path_factory.mktemp("root")
    for name in ("models", "reports"):
        (root / name).mkdir()
    (root / "models/predictor.json").write_text(json.dumps(MODEL))
    rows = [
        [*row, value + 1, value, round(value, 6), round(value - (value + 1), 6)]
        for row, value in zip(ROWS, oracle(ROWS).tolist(), strict=True)
    ]
    header = (*NAMES, "actual", "float", "quantized", "error")
    (root / "reports/predictions.csv").write_text(as_csv(rows, header))
    digest = document.digest(root / "models/predictor.json")
    scores = {**SCORES, "predictor": digest}
    (root / "reports/scores.json").write_text(json.dumps(scores))
    digest = document.digest(root / "models/predictor.json", root / "reports/scores.json")
    (root / "reports/README.md").write_text(f"# é of {digest}\n", encoding="utf-8")
    (root / "stages").symlink_to(REPOSITORY / "stages")
    return root


@pytest.fixture
def run(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run predict in this process, in an empty working directory."""
    monkeypatch.setattr(predict, "ROOT", root)
    monkeypatch.chdir(tmp_path)
    before = {signum: signal.getsignal(signum) for signum in cli.SIGNALS}
    yield lambda *args, stdin=None: call(args, capfd, stdin)
    for signum, handler in before.items():
        signal.signal(signum, handler)


def call(args: Sequence[object], capfd: pytest.CaptureFixture[str], stdin: bytes | None) -> Result:
    """Run predict, with `stdin` in a pipe, which holds 64 kB."""
    saved, reader = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    if stdin is not None:
        reader, writer = os.pipe()
        os.write(writer, stdin)
        os.close(writer)
    os.dup2(reader, 0)
    os.close(reader)
    argv, sys.argv = sys.argv, ["predict", *map(str, args)]
    try:
        cli.finish(predict.main, "predict")
    except SystemExit as done:
        code = done.code
    finally:
        sys.argv = argv
        os.dup2(saved, 0)
        os.close(saved)
    assert isinstance(code, int)
    return Result(code, *capfd.readouterr())
