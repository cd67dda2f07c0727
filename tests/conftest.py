"""Fixtures, each made once: a table, its model, a clone that has run on it, and PostgreSQL."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import duckdb
import numpy as np
import pytest
import yaml
from hypothesis import settings
from msgspec.structs import asdict, replace
from sklearn.model_selection import train_test_split

from stages import evaluate, load, quantize, train
from stages.columns.inputs import Input, Schema
from stages.predictor import c
from stages.predictor.document import Feature, Intercept, Predictor
from stages.project.files import SCORES
from stages.regression import scores
from stages.regression.fit import fit, fold, solve
from stages.regression.linear import LinearModel
from stages.regression.sums import Sums
from stages.tables import gather, spark, table
from stages.tables.datasets import diabetes
from stages.tables.relation import DataSet
from stages.tables.table import Table

settings.register_profile(
    "any machine", deadline=None, max_examples=25
)  # as a slow one makes no test red
settings.load_profile("any machine")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows does this in its own way")


def csv_of(*rows: Iterable[object], **dialect: Any) -> str:
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n"} | dialect).writerows(rows)
    return text.getvalue()


def write_csv(
    rows: Iterable[Iterable[object]], header: Iterable[str], name: str = "t.csv", **dialect: str
) -> None:
    """Write a table of one's own."""
    (gather.FOLDER / name).write_text(csv_of(header, *rows, **dialect), encoding="utf-8")


def write_parquet(query: str, name: str = "t.parquet") -> None:
    duckdb.execute(f"COPY ({query}) TO '{gather.FOLDER / name}' (FORMAT parquet)")


def write_parameters(folder: Path = Path(), **load: Any) -> None:
    """Write parameters that do not depend on the checkout's; `load` are some of that section."""
    section: dict[str, Any] = {
        "dataset": "data/raw/t.csv",
        "target": None,
        "features": None,
        "derived": [],
    }
    section |= {
        "key": None,
        "missing": "fail",
        "levels": 50,
        "test_size": 0.2,
        "seed": 42,
        "order": None,
    }
    section |= {"na": [], "dates": None, "categories": []} | load
    parameters = {
        "load": section,
        "train": {"folds": 5, "tolerance": 1e-13},
        "quantize": {"bits": 8, "rounding": "optimal"},
        "evaluate": {"samples": 10},
        "gate": {"min_r2": None, "min_cv_r2": None, "max_r2_drop": 0.001},
        "report": {"unit": None},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")


def make_checkout(folder: Path, **load_parameters: Any) -> Path:
    """Make a checkout without a table, where `python -m stages.NAME` runs."""
    (folder / gather.FOLDER).mkdir(parents=True)
    (folder / "stages").symlink_to(Path(load.__file__).parent)
    write_parameters(folder, **load_parameters)
    return folder


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a checkout of one's own."""
    monkeypatch.chdir(make_checkout(tmp_path))
    return tmp_path


def run_stages(*stages: Any, **load_parameters: Any) -> Any:
    """Run some stages, by default all four, and return the scores if there are any."""
    write_parameters(**load_parameters)
    for stage in stages or (load, train, quantize, evaluate):
        stage.main()
    return json.loads(SCORES.read_text(encoding="utf-8")) if SCORES.exists() else None


def schema_of(dataset: str, target: str, names: Iterable[str]) -> Schema:
    """Make the schema of a table of numbers without gaps."""
    return Schema(dataset, target, "fail", {}, tuple(map(Input, names)))


COEFFICIENT_COLUMNS = (
    *("feature", "coefficient", "per_std", "std_error", "t", "p", "low", "high", "vif"),
)


def feature(each: Input, low: float, high: float, code: int, exponent: int) -> Feature:
    return Feature(**asdict(each), min=low, max=high, code=code, exponent=exponent)


EXAMPLE = Predictor(
    dataset="toy",
    target="y",
    missing="fail",
    levels={},
    bits=2,  # so that codes 0 to 3 stand for -3, -1, 1 and 3
    intercept=Intercept(number=13, exponent=2),
    features=(feature(Input("a"), 0.0, 1.0, 2, 1), feature(Input('b "é"'), -1.5, 2.0, 1, -2)),
)
CAR = Predictor(
    dataset="cars",
    target="price",
    missing="mean",
    levels={"fuel": ("petrol", "diesel")},
    bits=3,
    intercept=Intercept(5, 0),
    features=(
        feature(Input("fuel", "text", "diesel", fill=0.0), 0.0, 1.0, 4, 0),
        feature(Input("fuel", "text", missing=True), 0.0, 1.0, 5, -1),
        feature(Input("new", "boolean", fill=0.25), 0.0, 1.0, 6, 1),
        feature(Input("seen", "date", fill=20.0), 10.0, 40.0, 7, 3),
        feature(Input("km", fill=1.5), 0.5, 2.0, 0, 2),
    ),
)
ROW: dict[str, Any] = {"fuel": "diesel", "new": True, "seen": "1970-01-31", "km": 2}


def make_model(bits: int, inputs: Iterable[Input], spread: int = 10, **head: Any) -> Predictor:
    """Make a random model whose exponents and ranges spread over so many powers of two."""
    rng = np.random.default_rng([bits, spread])
    features = []
    for each in inputs:
        low, high = np.sort(rng.normal(size=2) * 2.0 ** rng.integers(-spread, spread + 1))
        code, exponent = (int(rng.integers(*ends)) for ends in ((0, 2**bits), (-spread, spread)))
        features.append(feature(each, float(low), float(high), code, exponent))
    intercept = Intercept(int(rng.integers(-(2**40), 2**40)), int(rng.integers(0, 60)))
    return replace(EXAMPLE, bits=bits, intercept=intercept, features=tuple(features), **head)


MAIN = """
#include <stdio.h>
#include "model.h"

int main(void)
{
    NUMBER r[COLUMNS];
    while (fread(r, sizeof r, 1, stdin) == 1) {
        const NUMBER x[model_features] = {INPUTS};
        NUMBER y = FUNCTION(x);
        fwrite(&y, sizeof y, 1, stdout);
    }
    return 0;
}
"""


def run_c(model: Predictor, X: np.ndarray, folder: Path, *flags: str) -> np.ndarray:
    """Compile a model without a warning, and predict rows of doubles, or of 32-bit integers.

    A row of doubles has the factors of products and ratios instead of these.
    """
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    number, end = ("double", "") if X.dtype == float else ("int32_t", "_fixed")
    made, taken = list[str](), 0
    for j, each in enumerate(model.features):
        count = len(each.factors) if X.dtype == float and each.factors else 1
        values = ", ".join(f"r[{k}]" for k in range(taken, taken + count))
        made, taken = [*made, f"model_x{j}({values})" if count > 1 else values], taken + count
    assert X.shape[1] == taken
    text = MAIN.replace("COLUMNS", str(taken)).replace("INPUTS", ", ".join(made))
    (folder / "main.c").write_text(text)
    (folder / "model.h").write_text(c.header(model, "model"), encoding="utf-8")
    names = (f"-DNUMBER={number}", f"-DFUNCTION=model_predict{end}")
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", *names)
    succeed("gcc", *strict, *flags, "main.c", "-o", "main", cwd=folder)
    output = subprocess.run([folder / "main"], input=X.tobytes(), capture_output=True, check=True)
    return np.frombuffer(output.stdout, X.dtype)


def random_correlation(rng: np.random.Generator, n: int, rank: int | None = None) -> np.ndarray:
    X = rng.normal(size=(rank or n + 2, n))
    C = X.T @ X
    deviation = np.sqrt(np.diag(C))
    return np.asarray(C / np.outer(deviation, deviation))


def coefficients_of(model: Predictor, *, known: bool = True) -> list[dict[str, str]]:
    """Return rows as of coefficients.csv: weights + 0.1, deviations of 2, intervals of ± 0.1."""
    rows: list[dict[str, str]] = []
    names = "(intercept)", *(each.name for each in model.features)
    for name, weight in zip(names, (model.intercept.value, *model.coef), strict=True):
        w, first = weight + 0.1, not rows
        inferred = (
            [f"{x:g}" for x in (0.05, w / 0.05, 0.01, w - 0.1, w + 0.1)] if known else [""] * 5
        )
        effect, vif = ("", "") if first else (f"{2 * w:.6g}", "1.5")
        cells = name, f"{w:.6g}", effect, *inferred, vif
        rows.append(dict(zip(COEFFICIENT_COLUMNS, cells, strict=True)))
    return rows


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

    def sums_of_folds(self, fold: np.ndarray) -> list[Sums]:
        ends = self.block.min(axis=0), self.block.max(axis=0)
        return [Sums.of([self.block[fold == j]], *ends) for j in range(fold.max() + 1)]

    def write(self, folder: Path) -> Table:
        """Write the rows as a table."""
        block = self.block
        names = [f"c{j}" for j in range(block.shape[1])]
        with duckdb.connect() as connection:
            connection.register("w", dict(zip(names, block.T, strict=True)))
            connection.execute(f"COPY w TO '{folder / table.ROWS}' (FORMAT parquet)")
        ends = block.min(axis=0).tolist(), block.max(axis=0).tolist()
        schema = schema_of("toy", "y", names[:-1])
        return Table(schema, names, len(block), *ends, folder=str(folder))

    def tally(
        self, model: LinearModel, quantized: LinearModel, mean: float = 0.0
    ) -> list[scores.Seen]:
        """Return what `tally` sees in a table of the rows."""
        with tempfile.TemporaryDirectory() as folder:
            return scores.tally((model, quantized), self.write(Path(folder)), mean)


@dataclass(frozen=True, eq=False)
class Trained:
    """What the stages up to quantize know, for one seed of the split."""

    train: Rows
    test: Rows
    sums: Sums
    model: LinearModel


def rows_of(whole: DataSet) -> Rows:
    *values, target = whole.values()
    return Rows(np.column_stack(values), target)


def trained_on(whole: DataSet, seed: int) -> Trained:
    rows = rows_of(whole)
    X_train, X_test, y_train, y_test = train_test_split(
        rows.X, rows.y, test_size=0.2, random_state=seed
    )
    train, test = Rows(X_train, y_train), Rows(X_test, y_test)
    solution, _ = solve(train.sums)
    return Trained(train, test, train.sums, fold(fit(solution), train.sums))


@pytest.fixture(scope="session")
def trained() -> Trained:
    return trained_on(diabetes.load(), seed=42)


for home in map(Path, ("data/scikit_learn_data", "../shared/scikit_learn_data")):
    if home.is_dir():  # tests that work in another folder find what is there, too
        os.environ.setdefault("SCIKIT_LEARN_DATA", str(home.resolve()))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty checkout, without a home, a network, or waiting for one."""

    def fail(url: str, target: Path) -> None:
        raise URLError("no route to host")

    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("HOME", "USERPROFILE"):  # on Windows the second
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("SCIKIT_LEARN_DATA", raising=False)
    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", fail)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return folder


def run(
    *command: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # `python` and `dvc` are those of the environment that runs the tests
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env, nothing = os.environ | {"PATH": path} | (env or {}), subprocess.DEVNULL
    return subprocess.run(
        command, cwd=cwd, env=env, stdin=nothing, capture_output=True, text=True, check=False
    )


def succeed(*command: str, cwd: Path) -> str:
    """Run what must succeed, and return what it prints."""
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def change(checkout: Path, before: str, after: str) -> None:
    text = (checkout / "params.yaml").read_text(encoding="utf-8")
    assert before in text
    (checkout / "params.yaml").write_text(text.replace(before, after), encoding="utf-8")


COMMIT = (
    *("git init -q", "git config user.email a@example.com", "git config user.name a"),
    *("git add -A", "git commit -q -m clone"),
)


def copy_checkout(folder: Path) -> Path:
    """Copy what git would clone."""
    untracked = f"--others --exclude-standard :!{gather.FOLDER}"  # but tables nobody has added
    for options in ("--cached", untracked):
        names = succeed("git", "ls-files", "-z", *options.split(), cwd=Path()).split("\0")[:-1]
        for path in filter(Path.exists, map(Path, names)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path)
    return folder


def make_clone(folder: Path, dataset: str | None = None) -> Path:
    """Copy the checkout, run it on its own table or on a data set, and commit all."""
    copy_checkout(folder)
    if dataset:
        shutil.rmtree(folder / gather.FOLDER)
        (folder / gather.FOLDER).mkdir()
        (folder / gather.FOLDER / ".gitkeep").touch()
        write_parameters(folder, dataset=dataset)
    for pointer in (folder / gather.FOLDER).rglob("*.dvc"):
        source = pointer.relative_to(folder).with_suffix("")
        if not source.exists():
            pytest.skip(f"{source} is not here, dvc pull may bring it")
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / source)
    # forced, as the reports are committed, and an evaluation that has all its outputs is skipped
    for command in (
        *(*COMMIT, "git tag copied", "dvc repro --force"),
        *("git add -A", "git commit -q --amend --no-edit", "git tag cloned"),
    ):
        succeed(*command.split(), cwd=folder)
    return folder


def restore(folder: Path) -> Path:
    """Bring back what was committed and made."""
    for command in ("git reset -q --hard cloned", "git clean -fdq data/raw", "dvc checkout -q -f"):
        succeed(*command.split(), cwd=folder)
    return folder


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clone(tmp_path_factory.mktemp("clone"), "diabetes")


@pytest.fixture
def checkout(clone: Path) -> Path:
    """Return the clone as it was committed and reproduced."""
    return restore(clone)


def served() -> Any:
    """Start Sail, a Spark Connect server in this process; its address is what SPARK_REMOTE has."""
    os.environ |= {"RUST_LOG": "error", "SAIL_SPARK__SESSION_TIMEOUT_SECS": "3600"}
    pysail = pytest.importorskip("pysail.spark", reason="pysail is not installed")
    server = pysail.SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    return server, f"sc://{host}:{port}"


@pytest.fixture(scope="session")
def sail() -> Iterator[str]:
    server, remote = served()
    yield remote
    spark._session(remote).stop()  # at exit there is no server to say goodbye to
    server.stop()


SERVED = re.compile(r"serve: http://127\.0\.0\.1:(\d+)\n")


def start_server(
    program: Sequence[str] = ("-m", "stages.serve"), port: int = 0, cwd: Path = Path()
) -> tuple[subprocess.Popen[str], int]:
    """Start our server, at a free port if none is given, and wait until it listens."""
    command = [sys.executable, *program, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd)
    assert process.stderr
    while line := process.stderr.readline():
        if found := SERVED.fullmatch(line):
            return process, int(found[1])
    raise AssertionError(process.wait())


def stop_server(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Stop a server, and return its exit code and what it has said since it listened."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    # Windows ends it at once
    return 0 if sys.platform == "win32" else process.returncode, said


@pytest.fixture(scope="session")
def psql() -> Iterator[Callable[[str], str]]:
    """Start PostgreSQL on a socket in a new folder, as another user than root."""
    programs = next(Path("/usr/lib/postgresql").glob("*/bin"), None)
    if sys.platform == "win32" or not programs:
        pytest.skip("PostgreSQL is not installed")
    # pytest's folders are closed to other users, and too long for a socket
    with tempfile.TemporaryDirectory() as folder:
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            shutil.chown(folder, user)
        settings: Any = {"stdout": subprocess.PIPE, "text": True, "user": user, "cwd": folder}

        def program(command: str, text: str = "") -> str:
            name, *args = shlex.split(command)
            done = subprocess.run([programs / name, *args], input=text, check=True, **settings)
            return str(done.stdout)

        program("initdb -D data -A trust -U tests -E UTF8 --no-locale -N")
        program(f"pg_ctl start -s -D data -l log -o '-k {folder} -c listen_addresses='")
        connect = f"psql -h {folder} -U tests -d postgres -X -q -t --csv -v ON_ERROR_STOP=1"
        try:
            yield lambda text: program(connect, text)
        finally:
            program("pg_ctl stop -s -D data -m immediate")
