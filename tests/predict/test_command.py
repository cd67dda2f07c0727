"""The command: what it prints without a table, as SQL and as a card, and how it ends."""

import csv
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages import predict
from stages.columns.sql import double, identifier
from tests.predict.conftest import (
    MODEL,
    NAMES,
    ROWS,
    SCORES,
    Run,
    as_csv,
    oracle,
    refused,
    shell,
)

HUGE = json.dumps(SCORES).replace("1.0", "1" + "0" * 400)


# SQL


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_literal_is_the_same_double_everywhere(value: float) -> None:
    literal = double(value)
    assert float(literal) == value
    lite = sqlite3.connect(":memory:").execute(f"SELECT {literal}, typeof({literal})").fetchone()
    duck = duckdb.execute(f"SELECT {literal}, typeof({literal})").fetchone()
    assert lite[1] == "real"  # its value may be off by a bit, for SQLite reads decimals its own way
    assert duck == (value, "DOUBLE")


def test_printed_sql_gives_numpys_doubles_in_sqlite_and_duckdb(run: Run) -> None:
    rows = np.random.default_rng(7).normal(0, 50, (1000, 3)).tolist()
    query = run("--sql", "houses").out
    columns = ", ".join(f"{identifier(name)} DOUBLE" for name in NAMES)
    for connection in (sqlite3.connect(":memory:"), duckdb.connect()):
        connection.execute(f"CREATE TABLE houses (id INTEGER, {columns})")
        connection.executemany(
            "INSERT INTO houses VALUES (?, ?, ?, ?)", [(i, *row) for i, row in enumerate(rows)]
        )
        result = connection.execute(query).fetchall()
        assert [row[:-1] for row in result] == [(i, *row) for i, row in enumerate(rows)]
        assert [row[-1] for row in result] == oracle(rows).tolist()


def test_text_that_is_no_unicode_is_no_traceback(run: Run) -> None:
    refused(run("--sql", "\udcff"), "surrogates not allowed")


# without a table


def test_the_sample_rows_are_those_that_were_recorded(run: Run) -> None:
    result = run()
    p = oracle(ROWS)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == f"Sample predictions: [{', '.join(f'{x:.3f}' for x in p)}]"
    assert lines[2].split()[-4:] == ["actual", "float", "quantized", "error"]
    for line, x in zip(lines[3:6], p, strict=True):
        assert line.split()[-4:] == [f"{v:.6f}" for v in (x + 1, x, x, -1)]
    assert lines[6] == (
        f"these 3: mean {p.mean():.4f}, std {p.std():.4f}, min {p.min():.4f}, max {p.max():.4f}"
    )
    assert lines[7].endswith("mean 2.0000, std 0.9000, min -1.0000, max 5.0000")


@pytest.fixture
def other(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a copy of the files that the image has, for `run` to use."""
    for name in ("models/predictor.json", "reports/predictions.csv", "reports/scores.json"):
        Path("other", name).parent.mkdir(parents=True, exist_ok=True)
        Path("other", name).write_bytes((root / name).read_bytes())
    monkeypatch.setattr(predict, "ROOT", Path("other"))
    return Path("other")


@pytest.mark.parametrize("column", [-1, -2])
def test_a_difference_from_what_was_recorded_exits_1(run: Run, other: Path, column: int) -> None:
    path = other / "reports/predictions.csv"
    with path.open() as file:
        rows = list(csv.reader(file))
    rows[2][column] = f"{float(rows[2][column]) + 1e-6:.6f}"  # the last decimal that is recorded
    path.write_text(as_csv(rows[1:], rows[0]))
    result = run()
    assert result.code == 1
    assert "1 predictions differ" in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "`dvc repro` makes it"),
        ("{", "damaged"),
        (json.dumps(MODEL | {"version": 3}), "version"),
        (json.dumps(MODEL | {"dataset": 1}), "dataset"),
    ],
)
def test_a_predictor_that_cannot_be_used(
    run: Run, other: Path, text: str | None, message: str
) -> None:
    (other / "models/predictor.json").unlink()
    if text is not None:
        (other / "models/predictor.json").write_text(text)
    for args in ([], ["--card"], ["--sql", "t"]):
        refused(run(*args), "predictor.json", message)


@pytest.mark.parametrize("text", ["null", "[]", '{"quantized": null}', "[" * 100_000, HUGE])
def test_scores_that_are_damaged(run: Run, other: Path, text: str) -> None:
    (other / "reports/scores.json").write_text(text)
    for args in ([], ["--card"]):
        refused(run(*args), "scores.json is ", "`dvc repro`")


def test_scores_of_another_model_are_refused(run: Run, other: Path) -> None:
    (other / "models/predictor.json").write_text(json.dumps(MODEL | {"unit": "others"}))
    for args in ([], ["--card"]):
        refused(run(*args), "scores.json is of another model than models/predictor.json")


def test_the_card_says_what_the_predictor_does(run: Run) -> None:
    text = run("--card").out
    for words in ("made up", "8-bit", "| MedInc | -10 | 10 | 128 | 1 / 2^1 |", "0.375", "+0.25 %"):
        assert words in text
    _, front, _ = text.split("---\n", 2)
    read = yaml.safe_load(front)
    [result] = read["model-index"][0]["results"]
    assert read["datasets"] == [result["dataset"]["type"]] == ["made-up"]
    assert read["metrics"] == [metric["type"] for metric in result["metrics"]]
    found = [metric["value"] for metric in result["metrics"]]
    assert found == [SCORES["quantized"]["test"][name] for name in ("r2", "mse", "mae")]


def test_help_is_for_people(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for word in ("FILE", "--output", "--only", "--on-error", "--sql", "--card", "--c"):
        assert word in result.out


# as a process


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
    assert "stages.predictor.c" not in modules  # only --c imports it


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(root: Path) -> None:
    with (root / "long.csv").open("w") as file:
        file.write(as_csv([]))
        file.writelines(f"{i % 7},2,3\n" for i in range(300_000))
    for command in ("predict long.csv", f"cat {root}/long.csv | predict", "predict --card"):
        done = shell(root, f"{command} | head -1; echo ${{PIPESTATUS[@]: -2:1}} >&2")
        assert done.stderr == "0\n", command
        assert done.stdout.count("\n") == 1


@pytest.mark.slow
def test_full_and_closed_and_shared_output(root: Path) -> None:
    (root / "table").write_text(as_csv(ROWS))
    for command in ("predict table > /dev/full", "predict > /dev/full < /dev/null"):
        done = shell(root, command)
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert done.stderr.count("\n") == 1
    assert "standard output is closed" in shell(root, "predict table >&-").stderr
    done = shell(root, f"(echo first; predict table --only) > {root}/both; cat {root}/both")
    assert done.stdout.startswith("first\nprediction\n")


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(root: Path, long: Path, form: str, signum: int) -> None:
    folder = root / "stopped"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "stages.predict", str(long), "--output", f"stopped/out.{form}"]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE)
    while not any(path.stat().st_size for path in folder.glob("*/new")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signum, b"")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_signal_at_any_time_leaves_nothing(root: Path, long: Path) -> None:
    command = [sys.executable, "-m", "stages.predict", str(long), "--output", "stopped.csv"]
    for wait in np.linspace(0.3, 1, 23):
        process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE)
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[1] == b"", wait
        assert process.returncode == 130
        assert not list(root.glob("stopped.csv"))
        assert not list(root.glob(".*.part"))
