"""The command: its test of itself, the card, what it imports, and how it ends."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import predict
from stages.columns.sql import double, identifier
from tests.conftest import posix
from tests.predict.conftest import MODEL, NAMES, ROWS, Run, as_csv, oracle, refused


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_literal_is_the_same_double_everywhere(value: float) -> None:
    literal = double(value)
    assert float(literal) == value
    lite = sqlite3.connect(":memory:").execute(f"SELECT {literal}, typeof({literal})").fetchone()
    duck = duckdb.execute(f"SELECT {literal}, typeof({literal})").fetchone()
    assert lite[1] == "real"  # its value may be off by a bit, for SQLite reads decimals its own way
    assert duck == (value, "DOUBLE")


def test_the_sample_rows_are_those_that_were_recorded(run: Run) -> None:
    result = run()
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"Sample predictions: [{', '.join(f'{p:.3f}' for p in oracle(ROWS))}]",
        "all 3 predictions are those that the pipeline recorded",
    ]


@pytest.fixture
def other(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of the files that the image has, for `run` to use."""
    for path in (*root.glob("models/*"), *root.glob("reports/*")):
        name = path.relative_to(root)
        Path("other", name).parent.mkdir(parents=True, exist_ok=True)
        Path("other", name).write_bytes(path.read_bytes())
    monkeypatch.setattr(predict, "ROOT", Path("other"))
    return Path("other")


def test_a_difference_from_what_was_recorded_exits_1(run: Run, other: Path) -> None:
    path = other / "reports/predictions.csv"
    recorded = round(float(oracle(ROWS)[1]), 6)
    wrong = round(recorded + 1e-6, 6)  # in the last decimal that is recorded
    path.write_text(path.read_text().replace(f",{recorded},-1", f",{wrong},-1"))
    result = run()
    assert result.code == 1
    assert "1 predictions differ" in result.err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("models/predictor.json", None, "`dvc repro` makes it"),
        ("models/predictor.json", "{", "damaged"),
        ("models/predictor.json", json.dumps(MODEL | {"version": 4}), "version"),
        ("reports/scores.json", None, "`dvc repro` makes it"),
        ("reports/scores.json", "null", "`dvc repro`"),
        ("reports/scores.json", '{"quantized": null}', "is of another model than"),
        ("models/predictor.json", json.dumps(MODEL | {"bits": 9}), "scores.json is of another"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    run: Run, other: Path, name: str, text: str | None, message: str
) -> None:
    (other / name).unlink()
    if text is not None:
        (other / name).write_text(text)
    (other / "table").write_text(as_csv(ROWS))
    refused(run("other/table", "--interval", "0.9"), message, name)


def test_no_interval_is_made_up(run: Run, other: Path) -> None:
    (other / "table").write_text(as_csv(ROWS))
    path = other / "reports/scores.json"
    scores = json.loads(path.read_text())
    del scores["half_widths"]
    for text, message in (
        (json.dumps(scores), "scores.json has no half-widths"),
        (json.dumps(scores | {"predictor": "another"}), "scores.json is of another model"),
    ):
        path.write_text(text)
        refused(run("other/table", "--interval", "0.9"), message)
    assert run("other/table").code == 0


def test_the_card_is_that_of_the_predictor(run: Run, other: Path) -> None:
    path = other / "reports/README.md"
    assert run("--card").out == path.read_text(encoding="utf-8")
    (other / "models/predictor.json").write_text(json.dumps(MODEL | {"bits": 9}))
    refused(run("--card"), "no reports/README.md is of this model: `python -m stages.report`")
    path.unlink()
    refused(run("--card"), "no reports/README.md is of this model")


# as a process


@pytest.mark.slow
def test_predict_imports_only_what_the_image_has(root: Path) -> None:
    (root / "table").write_text(as_csv(ROWS))
    code = (
        "import sys; before = {*sys.modules}; sys.argv = ['predict', 'table', '--output', 'o.csv'];"
        "from stages import predict; predict.main(); print(*{*sys.modules} - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    modules = {*done.stdout.split()}
    packages = {module.partition(".")[0] for module in modules} - {*sys.stdlib_module_names}
    allowed = {"stages", "duckdb", "_duckdb", "msgspec", "typing_extensions"}
    assert {"stages", "duckdb"} <= packages <= allowed


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "signum"),
    [("csv", signal.SIGINT), ("parquet", signal.SIGTERM)],
)
def test_a_signal_leaves_nothing(root: Path, form: str, signum: int) -> None:
    folder = root / "stopped"
    folder.mkdir(exist_ok=True)
    query = f'SELECT i % 7 AS Income, 2 AS {identifier(NAMES[1])}, 3 AS "select"'
    long = root / "long.parquet"  # takes seconds to predict
    duckdb.execute(f"COPY ({query} FROM range(20000000) t(i)) TO '{long}' (FORMAT parquet)")
    command = [sys.executable, "-m", "stages.predict", str(long), "--output", f"stopped/out.{form}"]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # in the background it is ignored
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, preexec_fn=heed)
    while not any(path.stat().st_size for path in folder.glob("*/new")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signum, b"")
    assert list(folder.iterdir()) == []


@posix
def test_a_closed_pipe_is_no_error(root: Path) -> None:
    (root / "many.csv").write_text(as_csv([[i % 7, 2, 3] for i in range(20_000)]))
    command = [sys.executable, "-m", "stages.predict", "many.csv"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.close()
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0
