"""Fixtures, each made once: the real table, the model trained on it, and a clone that has run."""

import ast
import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stages.predictor.document import Feature, Intercept, Predictor
from stages.regression.fit import fit, fold
from stages.regression.linear import LinearModel
from stages.regression.sums import Sums
from stages.tables import datasets
from stages.tables.datasets import DataSet


def csv_of(*rows: Iterable[object], **dialect: Any) -> str:
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n"} | dialect).writerows(rows)
    return text.getvalue()


def imported(file: Path) -> set[Path]:
    """Return the files of `stages` that a file imports itself, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    files = {Path(name.replace(".", "/") + ".py") for name in names if name.startswith("stages.")}
    return {path for path in files if path.exists()}


def all_imported(file: Path) -> set[Path]:
    """Return a file and all files of `stages` that it imports, directly or not."""
    found, waiting = {file}, [file]
    while waiting:
        new = imported(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def random_correlation(rng: np.random.Generator, n: int, rank: int | None = None) -> np.ndarray:
    X = rng.normal(size=(rank or n + 2, n))
    C = X.T @ X
    deviation = np.sqrt(np.diag(C))
    return np.asarray(C / np.outer(deviation, deviation))


EXAMPLE = Predictor(
    dataset="toy",
    target="y",
    unit="apples",
    bits=2,  # so that codes 0 to 3 stand for -3, -1, 1 and 3
    intercept=Intercept(number=13, exponent=2),
    features=(Feature("a", 0.0, 1.0, 2, 1), Feature('b "é"', -1.5, 2.0, 1, -2)),
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Features, of shape (n_rows, n_features), and target."""

    X: np.ndarray
    y: np.ndarray

    @property
    def block(self) -> np.ndarray:
        return np.column_stack([self.X, self.y])

    @property
    def sums(self) -> Sums:
        return Sums.of([self.block], self.block.min(axis=0), self.block.max(axis=0))


@dataclass(frozen=True, eq=False)
class Trained:
    """What the stages up to quantize know, for one seed of the split."""

    train: Rows
    test: Rows
    sums: Sums
    model: LinearModel


def rows_of(whole: DataSet) -> Rows:
    values = [whole.columns[name] for name in whole.columns if name != whole.target]
    return Rows(np.column_stack(values), whole.columns[whole.target])


def trained_on(whole: DataSet, seed: int) -> Trained:
    rows = rows_of(whole)
    X_train, X_test, y_train, y_test = train_test_split(
        rows.X, rows.y, test_size=0.2, random_state=seed
    )
    train, test = Rows(X_train, y_train), Rows(X_test, y_test)
    return Trained(train, test, train.sums, fold(fit(train.sums), train.sums))


@pytest.fixture(scope="session")
def california() -> DataSet:
    return datasets.california_housing()


@pytest.fixture(scope="session")
def trained(california: DataSet) -> Trained:
    return trained_on(california, seed=42)


def run(
    *command: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # `python` and `dvc` are those of the environment that runs the tests
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path} | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def change(checkout: Path, before: str, after: str) -> None:
    path = checkout / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, california: object) -> Path:
    """Copy what git would clone, with the table beside it, and commit it."""
    folder = tmp_path_factory.mktemp("clone")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=Path())
    for name in listed.stdout.splitlines():
        if Path(name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    table = next(home for home in datasets.california_homes() if (home / datasets.CACHE).exists())
    shutil.copytree(table, folder / "data/scikit_learn_data")
    for command in (
        ("init", "-q"),
        ("config", "user.email", "clone@example.com"),
        ("config", "user.name", "clone"),
        ("add", "-A"),
        ("commit", "-q", "-m", "clone"),
        ("tag", "cloned"),
    ):
        assert run("git", *command, cwd=folder).returncode == 0
    # forced, as the reports are committed, and an evaluation that has all its outputs is skipped
    done = run("dvc", "repro", "--force", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def checkout(clone: Path) -> Path:
    """Return the clone as it was committed and reproduced."""
    run("git", "reset", "-q", "--hard", "cloned", cwd=clone)
    run("dvc", "checkout", "-q", "--force", cwd=clone)
    return clone
