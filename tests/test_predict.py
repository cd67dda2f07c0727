import csv
import gzip
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sklearn.datasets import load_diabetes

from stages import predict
from stages.columns import pipes, source, sql
from stages.columns.inputs import Input
from stages.predictor import document, scoring
from stages.predictor.document import Intercept, Predictor
from stages.project import cli
from stages.quantizer import solve
from stages.regression.fit import fit, fold
from stages.regression.linear import LinearModel, largest_difference
from tests.conftest import Rows, all_imported, csv_of, feature, schema_of

PIPED = [False, pytest.param(True, marks=pytest.mark.slow)]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REPOSITORY = Path(predict.__file__).parent.parent
NAMES = ("MedInc", 'é "q", x + y - z', "select")
# (2 · code - 255) · 2^-exponent, worked by hand
MODEL = Predictor(
    dataset="made up",
    target="y",
    unit="units",
    missing="fail",
    levels={},
    bits=8,
    intercept=Intercept(number=-13, exponent=5),
    features=(
        feature(Input(NAMES[0]), -10.0, 10.0, 128, 1),
        feature(Input(NAMES[1]), 0.0, 100.0, 121, 4),
        feature(Input(NAMES[2]), -1e6, 1e6, 129, -2),
    ),
)
SCORES = {
    "quantized": dict.fromkeys(
        ("train", "test"),
        {"r2": 0.5, "mse": 1.0, "rmse": 1.0, "mae": 0.8, "mean": 2.0}
        | {"std": 0.9, "min": -1.0, "max": 5.0},
    ),
    "quantization": {
        "mse_growth_percent": 0.25,
        "r2_drop": 0.125,
        "prediction_difference": {"mean": 0.1, "max": 0.2, "bound": 0.375},
        "payload_bits": 240,
        "optimal": True,
    },
}


def scores(root: Path) -> str:
    return json.dumps(SCORES | {"predictor": document.digest(root / "models/predictor.json")})


HUGE = json.dumps(SCORES).replace("1.0", "1" + "0" * 400)
COEF = (0.5, -0.8125, 12.0)
ROWS = [[1.5, 10.0, -3.25], [0.1, 0.2, 0.3], [-9.75, 99.5, 1e5]]


def oracle(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Add the terms from left to right, as numpy does it, beginning with the intercept."""
    X = np.array(rows, dtype=float)
    total = np.full(len(X), -0.40625)
    for weight, column in zip(COEF, X.T, strict=True):
        total = total + weight * column
    return total


def as_csv(rows: Sequence[Sequence[object]], header: Sequence[str] = NAMES) -> str:
    return csv_of(header, *rows)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def predictions(text: str) -> list[float]:
    return [float(row["prediction"]) for row in read_csv(text)]


@dataclass
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the two files that the image has, as the pipeline would."""
    root = tmp_path_factory.mktemp("root")
    document.save(MODEL, root / "models/predictor.json")
    p = oracle(ROWS)
    rows = [
        [*row, value + 1, value, round(value, 6), round(value - (value + 1), 6)]
        for row, value in zip(ROWS, p.tolist(), strict=True)
    ]
    (root / "reports").mkdir()
    header = (*NAMES, "actual", "float", "quantized", "error")
    (root / "reports/predictions.csv").write_text(as_csv(rows, header))
    (root / "reports/scores.json").write_text(scores(root))
    return root


@pytest.fixture
def run(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Run predict in this process, in an empty working directory."""
    monkeypatch.setattr(predict, "ROOT", root)
    monkeypatch.chdir(tmp_path)
    return lambda *args, **stdin: call(args, capfd, **stdin)


def call(
    args: Sequence[object], capfd: pytest.CaptureFixture[str], stdin: bytes | Path | None = None
) -> Result:
    saved = os.dup(0)
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    if isinstance(stdin, bytes):
        read_end, write_end = os.pipe()
        threading.Thread(target=feed, args=(write_end, stdin), daemon=True).start()
    else:
        read_end = os.open(stdin or os.devnull, os.O_RDONLY)
    os.dup2(read_end, 0)
    os.close(read_end)
    argv, sys.argv = sys.argv, ["predict", *map(str, args)]
    try:
        cli.finish(predict.main, "predict")
    except SystemExit as done:
        code = done.code
    finally:
        sys.argv = argv
        os.dup2(saved, 0)
        os.close(saved)
        for signum, handler in before.items():
            signal.signal(signum, handler)
    out, err = capfd.readouterr()
    assert isinstance(code, int)
    return Result(code, out, err)


def feed(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as pipe, suppress(BrokenPipeError):
        pipe.write(data)


def link(root: Path) -> None:
    """Put our modules beside the files that the image has."""
    if not (root / "stages").exists():
        (root / "stages").symlink_to(REPOSITORY / "stages")


def shell(root: Path, command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a shell command, in which `predict` is a process of its own."""
    link(root)
    script = (
        f'predict() {{ (cd {root} && exec {sys.executable} -m stages.predict "$@"); }}; {command}'
    )
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


def refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    for word in ("predict: ", *words):
        assert word in result.err


# the model as SQL


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_literal_is_the_same_double_everywhere(value: float) -> None:
    literal = sql.double(value)
    assert float(literal) == value
    lite = sqlite3.connect(":memory:").execute(f"SELECT {literal}, typeof({literal})").fetchone()
    duck = duckdb.execute(f"SELECT {literal}, typeof({literal})").fetchone()
    assert lite[1] == "real"  # its value may be off by a bit, for SQLite reads decimals its own way
    assert duck == (value, "DOUBLE")


def test_printed_sql_gives_numpys_doubles_in_sqlite_and_duckdb(run: Run) -> None:
    rows = np.random.default_rng(7).normal(0, 50, (1000, 3)).tolist()
    query = run("--sql", "houses").out
    columns = ", ".join(f"{sql.identifier(name)} DOUBLE" for name in NAMES)
    for connection in (sqlite3.connect(":memory:"), duckdb.connect()):
        connection.execute(f"CREATE TABLE houses (id INTEGER, {columns})")
        connection.executemany(
            "INSERT INTO houses VALUES (?, ?, ?, ?)", [(i, *row) for i, row in enumerate(rows)]
        )
        result = connection.execute(query).fetchall()
        assert [row[:-1] for row in result] == [(i, *row) for i, row in enumerate(rows)]
        assert [row[-1] for row in result] == oracle(rows).tolist()


def test_printed_sql_fails_where_a_column_is_missing(run: Run) -> None:
    query = run("--sql", "houses").out
    lite = sqlite3.connect(":memory:")
    lite.execute("CREATE TABLE houses (MedInc DOUBLE)")
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        lite.execute(query)


# what comes out is what numpy calculates

cells = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)
notations = st.sampled_from((repr, "{:.17e}".format, "{:+.17E}".format, "{:.20g}".format))


@st.composite
def tables(
    draw: st.DrawFn,
) -> tuple[list[str], list[list[str]], list[list[float]], dict[str, object]]:
    """Draw a header, the cells as text, the features' values, and a dialect of CSV."""
    others = draw(
        st.lists(
            texts.filter(lambda n: n not in NAMES and n != "prediction"), unique=True, max_size=3
        )
    )
    header = draw(st.permutations([*NAMES, *others]))
    X = draw(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=6))
    notation = draw(notations)
    rows = [
        [notation(row[NAMES.index(c)]) if c in NAMES else draw(texts) for c in header] for row in X
    ]
    dialect = {
        "quoting": draw(st.sampled_from((csv.QUOTE_ALL, csv.QUOTE_MINIMAL))),
        "lineterminator": draw(st.sampled_from(("\n", "\r\n"))),
        "delimiter": draw(st.sampled_from(",;\t|")),
    }
    return header, rows, X, dialect


@pytest.mark.slow
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(table=tables(), bom=st.booleans(), packed=st.booleans(), piped=st.booleans())
def test_tables_of_every_kind(
    run: Run,
    table: tuple[list[str], list[list[str]], list[list[float]], dict[str, object]],
    bom: bool,
    packed: bool,
    piped: bool,
) -> None:
    header, rows, X, dialect = table
    ends = dialect["lineterminator"]
    rows = [[cell.replace("\n", str(ends)) for cell in row] for row in rows]
    header = [name.replace("\n", str(ends)) for name in header]
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows([header, *rows])  # type: ignore[arg-type]
    bom = bom and "\n" not in header[0]  # is refused
    data = (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()
    data = gzip.compress(data) if packed else data
    if piped:
        result = run("-", stdin=data)
    else:
        Path("table").write_bytes(data)
        result = run("table")
    assert result.code == 0, result.err
    got = list(csv.reader(io.StringIO(result.out, newline="")))
    assert got[0] == [*header, "prediction"]
    assert [row[:-1] for row in got[1:]] == rows
    assert [float(row[-1]) for row in got[1:]] == oracle(X).tolist()


@pytest.mark.parametrize("piped", PIPED)
@pytest.mark.parametrize("output", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "jsonl", "jsonl.gz"])
def test_every_format_to_every_other(run: Run, form: str, output: str, piped: bool) -> None:
    rows = np.random.default_rng(3).normal(0, 50, (5000, 3)).tolist()
    names = ", ".join(f"a[{i}] AS {sql.identifier(name)}" for i, name in enumerate(NAMES, 1))
    kind = form.split(".")[0].replace("jsonl", "json")
    packed = ", COMPRESSION gzip" if form.endswith("gz") else ""
    duckdb.execute(
        f"COPY (SELECT {names}, i AS id FROM (SELECT unnest(?) AS a, unnest(range(5000)) AS i))"
        f" TO 'table' (FORMAT {kind}{packed})",
        [rows],
    )
    source = ["-"] if piped else ["table"]
    stdin = Path("table").read_bytes() if piped else None
    assert run(*source, "--output", f"out.{output}", stdin=stdin).code == 0
    reader = {"csv": "read_csv", "parquet": "read_parquet", "jsonl": "read_json"}[output]
    result = duckdb.execute(f"FROM {reader}('out.{output}')")
    assert [column[0] for column in result.description] == [*NAMES, "id", "prediction"]
    got = result.fetchall()
    assert [int(row[3]) for row in got] == list(range(5000))
    assert [list(row[:3]) for row in got] == rows
    assert [row[4] for row in got] == oracle(rows).tolist()
    assert sorted(path.name for path in Path().iterdir()) == [f"out.{output}", "table"]
    alone = run(*source, "--only", stdin=stdin)
    assert alone.out == "prediction\n" + "".join(f"{row[4]!r}\n" for row in got)


def test_what_is_passed_through_keeps_its_text(run: Run) -> None:
    header = ["", "code", "Code", *NAMES]
    rows = [["007", "1e5", " x ", "1.50", "2", "+3"], ["", "NULL", "2020-01-01", "1e0", "2.", ".5"]]
    Path("table").write_text(as_csv(rows, header))
    result = run("table")
    assert result.err == ""
    p = oracle([[float(cell) for cell in row[3:]] for row in rows]).tolist()
    expected = [[*row, repr(value)] for row, value in zip(rows, p, strict=True)]
    assert result.out == as_csv(expected, [*header, "prediction"])
    refused(run("table", "--output", "out.parquet"), "differ in case alone")


def test_json_is_passed_through_as_it_is(run: Run) -> None:
    extra = {"day": "2020-01-01", "deep": {"k": [1, 2.5]}, "n": 7, "ok": True}
    lines = [dict(zip(NAMES, row, strict=True)) | extra for row in ROWS]
    lines.append(dict(zip(NAMES, ROWS[0], strict=True)) | {"late": "x"})
    Path("table").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("table", "--output", "out.jsonl").code == 0
    got = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    p = oracle([*ROWS, ROWS[0]]).tolist()
    absent = dict.fromkeys([*extra, "late"])
    assert got == [absent | line | {"prediction": q} for line, q in zip(lines, p, strict=True)]


@pytest.mark.parametrize("piped", PIPED)
def test_json_of_many_columns_is_a_table(run: Run, piped: bool) -> None:
    # of which DuckDB would make a map, as of lines that have few columns in common
    others = [{f"k{i}": 1 for i in range(300)}, {"late": 1}]
    lines = [dict(zip(NAMES, row, strict=True)) for row in ROWS[:2]]
    text = "".join(json.dumps(a | b) + "\n" for a, b in zip(lines, others, strict=True))
    Path("t.jsonl").write_text(text)
    result = run("--only", stdin=text.encode()) if piped else run("t.jsonl", "--only")
    assert predictions(result.out) == oracle(ROWS[:2]).tolist(), result.err


def test_16_bits_stay_within_the_bound_of_scikit_learn(run: Run, root: Path) -> None:
    data = load_diabetes()
    names = tuple(data.feature_names)
    rows = Rows(data.data, data.target)
    pipeline = fit(rows.sums)
    model = fold(pipeline, rows.sums)
    quantized = solve.quantize(model.coef, rows.sums, 16, "nearest").model
    schema = schema_of("diabetes", "y", "points", names)
    ranges = zip(rows.X.min(axis=0).tolist(), rows.X.max(axis=0).tolist(), strict=True)
    shipped = Predictor.of(schema, 16, ranges, quantized.coef.tolist(), quantized.intercept)
    saved = (root / "models/predictor.json").read_bytes()
    document.save(shipped, root / "models/predictor.json")
    try:
        Path("table").write_text(as_csv(rows.X.tolist(), names))
        result = run("table")
    finally:
        (root / "models/predictor.json").write_bytes(saved)
    assert result.err == ""
    got = np.array(predictions(result.out))
    assert (
        got.tolist()
        == LinearModel(np.array(shipped.coef), shipped.intercept.value).predict(rows.X).tolist()
    )
    bound = largest_difference(model, quantized, rows.sums.low[:-1], rows.sums.high[:-1])
    assert np.abs(got - pipeline.predict(rows.X)).max() <= bound


# bad rows

BAD = [
    ("abc", "'abc', must be a finite number"),
    ("", "is empty, must be a finite number"),
    (" ", "' ', must be a finite number"),
    ("nan", "'nan', must be a finite number"),
    ("inf", "'inf', must be a finite number"),
    ("-Infinity", "'-Infinity', must be a finite number"),
    ("1e400", "'1e400', must be a finite number"),
    ("1,5", "'1,5', must be a finite number"),
    ("0x10", "'0x10', must be a finite number"),
    ("true", "'true', must be a finite number"),
    ("NULL", "'NULL', must be a finite number"),
    ("2024-01-01", "'2024-01-01', must be a finite number"),
    ("x" * 500, "xxx…', must be a finite number"),
]


@pytest.mark.parametrize("piped", PIPED)
@pytest.mark.parametrize(("value", "message"), BAD)
def test_a_bad_value_is_named(run: Run, value: str, message: str, piped: bool) -> None:
    text = as_csv([ROWS[0], [1, value, 3], ROWS[1], ["?", 2, 3]])
    Path("table").write_text(text)
    source, stdin = (["-"], text.encode()) if piped else (["table"], None)
    place = "standard input" if piped else "table"
    words = (f"{place}: row 2 below the header: {NAMES[1]} ", message, "(2 bad rows in all)")
    refused(run(*source, stdin=stdin), *words)
    Path("out.csv").write_text("what was there")
    for output in ("out.csv", "out.parquet"):
        refused(run(*source, "--output", output, stdin=stdin), *words)
    assert Path("out.csv").read_text() == "what was there"
    assert sorted(path.name for path in Path().iterdir()) == ["out.csv", "table"]


@pytest.mark.parametrize("value", ["null", '"x"', "true", "NaN"])
def test_a_bad_value_of_json_is_named(run: Run, value: str) -> None:
    lines = [json.dumps(dict(zip(NAMES, row, strict=True))) for row in ROWS]
    lines[1] = lines[1].replace("0.1", value)
    Path("table").write_text("\n".join(lines))
    refused(run("table"), "table: row 2: MedInc is ", "(1 bad row in all)")
    assert predictions(run("table", "--on-error", "skip").out) == oracle(ROWS[::2]).tolist()


def test_a_bad_value_of_parquet_is_named(run: Run) -> None:
    columns = f'2 AS {sql.identifier(NAMES[1])}, 3 AS "select"'
    duckdb.execute(
        f"COPY (SELECT unnest(['1.5', NULL, 'inf']::DOUBLE[]) AS MedInc, {columns})"
        " TO 't' (FORMAT parquet)"
    )
    refused(run("t"), "t: row 2: MedInc is empty", "(2 bad rows in all)")
    duckdb.execute(f"COPY (SELECT DATE '2020-01-01' AS MedInc, {columns}) TO 't' (FORMAT parquet)")
    refused(run("t"), "MedInc must be a finite number, its type is DATE")


def test_an_infinite_prediction_is_refused(run: Run) -> None:
    Path("table").write_text(as_csv([[1.7e308, -1.7e308, 1.7e308]]))
    refused(run("table"), "row 1 below the header: the prediction is too large")


@pytest.mark.slow
@pytest.mark.parametrize("piped", PIPED)
def test_the_first_of_many_bad_rows_and_their_number(run: Run, piped: bool) -> None:
    n, first = 400_000, 150_001  # several of the blocks that DuckDB gives to threads
    rows = [f"1,2,{i if i < first - 1 or i % 3 else 'x'}" for i in range(n)]
    header = as_csv([]).strip()
    text = "\n".join([header, *rows])
    bad = sum(row.endswith("x") for row in rows)
    Path("table").write_text(text)
    result = run("-", stdin=text.encode()) if piped else run("table")
    refused(result, f"row {first:,} below", f"({bad:,} bad rows in all)")
    result = run("table", "--on-error", "skip", "--only", "--output", "out.csv")
    assert result.err.startswith(f"predict: table: dropped {bad:,} bad rows, kept {n - bad:,}\n")
    kept = [float(row[4:]) for row in rows if "x" not in row]
    assert predictions(Path("out.csv").read_text()) == oracle([[1, 2, x] for x in kept]).tolist()


@pytest.mark.parametrize("piped", PIPED)
def test_lines_that_are_no_rows(run: Run, piped: bool) -> None:
    text = as_csv([ROWS[0], [1, 2], [1, 2, 3, 4], ["x", 2, 3], ROWS[1]])
    Path("table").write_text(text)
    source, stdin = (["-"], text.encode()) if piped else (["table"], None)
    refused(run(*source, stdin=stdin), "Line: 3", "Expected Number of Columns: 3 Found: 2")
    result = run(*source, "--on-error", "skip", stdin=stdin)
    assert predictions(result.out) == oracle(ROWS[:2]).tolist()
    assert "dropped 3 bad rows, kept 2" in result.err


# tables that are none

FIRST, SECOND, THIRD = (
    as_csv([]).encode().strip(),
    as_csv([ROWS[0]]).encode(),
    as_csv(ROWS).encode(),
)
TABLES = [
    (b"", "is empty"),
    (FIRST, "there are no rows"),
    (FIRST + b"\r\n", "there are no rows"),
    (b"a,b\n1,2\n", "missing; found a, b"),
    (b"MedInc,select\n1,2\n", 'column é "q", x + y - z missing; found MedInc, select'),
    (SECOND.replace(b"MedInc", b"medinc"), "column MedInc missing; found medinc"),
    (b"MedInc," + SECOND.replace(b"\n1.5", b"\n1,1.5"), "more than one column is called MedInc"),
    (b"prediction," + SECOND.replace(b"\n1.5", b"\n1,1.5"), "has a column prediction"),
    (",".join(map(str, range(100))).encode(), "18, 19 and 80 more"),
    (b"\xef\xbb\xbf\n1,2\n", "missing; found"),
    (bytes(range(256)), "is not a table"),
    (THIRD.decode().encode("utf-16"), "is not a table"),
    (SECOND.decode().encode("latin-1"), "header is not UTF-8"),
    (SECOND + b"1,2,\xff\n", "not utf-8"),
    (SECOND + b'"1,2,3\n', "unterminated quote"),
    (b"PAR1 and no more", "magic bytes"),
    (b"\x1f\x8b\x08 and no more", "damaged"),
    (gzip.compress(THIRD * 1000, mtime=0)[:-10], ""),
    (gzip.compress(b"PAR1"), "Parquet within gzip"),
    (b'[{"MedInc": 1}]', "must be JSON lines"),
    (b'{"MedInc": 1}\n', "missing; found MedInc"),
    (b'{"MedInc": \n', "missing"),
]


@pytest.mark.parametrize("piped", PIPED)
@pytest.mark.parametrize(("data", "message"), TABLES)
def test_what_is_no_table(run: Run, data: bytes, message: str, piped: bool) -> None:
    Path("table").write_bytes(data)
    source, stdin = (["-"], data) if piped else (["table"], None)
    refused(run(*source, stdin=stdin), message, "standard input" if piped else "table")
    if not piped:
        refused(run("table", "--output", "out.csv"), message)
    assert [path.name for path in Path().iterdir()] == ["table"]


def test_a_column_prediction_is_no_obstacle_to_predictions_alone(run: Run) -> None:
    Path("table").write_text(as_csv([["x", *ROWS[0]]], ["prediction", *NAMES]))
    assert predictions(run("table", "--only").out) == oracle(ROWS[:1]).tolist()


def test_files_that_cannot_be_used(run: Run) -> None:
    Path("table").write_bytes(THIRD)
    Path("folder.csv").mkdir()
    refused(run("nothing"), "nothing cannot be read: No such file")
    refused(run("folder.csv"), "is a folder")
    refused(run("table", "--output", "out.txt"), "must end in one of .csv, .parquet")
    refused(run("table", "--output", "/dev/null"), "must end in one of")
    refused(run("table", "--output", "no/out.csv"), "there is no folder no")
    refused(run("table", "--output", "folder.csv"), "is not a file")
    refused(run("table", "--output", "/proc/out.csv"), "cannot be written")
    refused(run("--output", "out.csv"), "nothing is piped in")
    assert not Path("out.csv").exists()


def test_the_output_may_be_the_input(run: Run) -> None:
    Path("a[1]*'.csv").write_bytes(THIRD)
    assert run("a[1]*'.csv", "--output", "a[1]*'.csv").code == 0
    assert predictions(Path("a[1]*'.csv").read_text()) == oracle(ROWS).tolist()
    assert [path.name for path in Path().iterdir()] == ["a[1]*'.csv"]


def test_a_file_as_standard_input(run: Run) -> None:
    Path("table").write_bytes(THIRD)
    assert predictions(run(stdin=Path("table")).out) == oracle(ROWS).tolist()


def test_a_pipe_of_parquet_without_a_temporary_folder(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> None:
        raise FileNotFoundError

    lines = "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS)
    monkeypatch.setattr("tempfile.TemporaryFile", nowhere)
    assert predictions(run("-", stdin=lines.encode()).out) == oracle(ROWS).tolist()
    monkeypatch.setattr(pipes, "IN_MEMORY", 10)
    refused(run("-", stdin=lines.encode()), "no folder for temporary files")


def test_rows_outside_the_training_range_are_counted(run: Run) -> None:
    limits = [[-10, 0, -1e6], [10, 100, 1e6]]
    Path("table").write_text(as_csv(limits))
    assert run("table").err == ""
    Path("table").write_text(as_csv([*limits, [10.5, 101, 0], [0, -0.5, 0], [0, 0, 0]]))
    for args in (["table"], ["table", "--output", "out.csv"]):
        result = run(*args)
        assert result.code == 0
        assert result.err == (
            "predict: table: 2 of 5 rows outside the training range,"
            f" most often in {NAMES[1]}, 0 to 100\n"
        )


# without a table


def test_the_sample_rows_are_those_that_were_recorded(run: Run) -> None:
    result = run()
    p = oracle(ROWS)
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0] == f"Sample predictions: [{', '.join(f'{x:.3f}' for x in p)}]"
    assert lines[2].split()[-4:] == ["actual", "float", "quantized", "error"]
    for line, x in zip(lines[3:6], p, strict=True):
        assert line.split()[-4:] == [f"{v:.6f}" for v in (x + 1, x, x, -1)]
    assert lines[6] == (
        f"these 3 predictions: mean {p.mean():.4f}, std {p.std():.4f},"
        f" min {p.min():.4f}, max {p.max():.4f}"
    )
    assert lines[7].endswith("mean 2.0000, std 0.9000, min -1.0000, max 5.0000")
    assert result.code == 0


@pytest.mark.parametrize("column", [-1, -2])
def test_a_difference_from_what_was_recorded_exits_1(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, column: int
) -> None:
    other = Path("other")
    document.save(MODEL, other / "models/predictor.json")
    (other / "reports").mkdir()
    (other / "reports/scores.json").write_text(scores(other))
    rows = list(csv.reader((root / "reports/predictions.csv").open()))
    rows[2][column] = f"{float(rows[2][column]) + 1e-6:.6f}"  # the last decimal that is recorded
    (other / "reports/predictions.csv").write_text(as_csv(rows[1:], rows[0]))
    monkeypatch.setattr(predict, "ROOT", other)
    result = run()
    assert result.code == 1
    assert "1 of 3 predictions differ" in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "`dvc repro` makes it"),
        ("{", "damaged"),
        ('{"format": "regression predictor", "version": 1}', "version must be 4"),
        ('{"format": "regression predictor", "version": 3}', "version must be 4"),
        ('{"format": "regression predictor", "version": 4}', "missing required field `dataset`"),
    ],
)
def test_a_predictor_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
) -> None:
    monkeypatch.setattr(predict, "ROOT", Path("other"))
    Path("other/models").mkdir(parents=True)
    if text is not None:
        Path("other/models/predictor.json").write_text(text)
    for args in ([], ["--card"], ["--sql", "t"]):
        refused(run(*args), "predictor.json", message)


def test_scores_of_another_model_are_refused(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root, "other")
    monkeypatch.setattr(predict, "ROOT", Path("other"))
    document.save(replace(MODEL, unit="others"), Path("other/models/predictor.json"))
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
    scored: Any = SCORES["quantized"]
    found = [metric["value"] for metric in result["metrics"]]
    assert found == [scored["test"][name] for name in ("r2", "mse", "mae")]


# as a process


def test_predict_imports_only_duckdb_and_what_the_image_has(root: Path) -> None:
    Path(root / "table").write_bytes(THIRD)
    names = "sorted({getattr(m, '__file__', None) or '' for m in sys.modules.values()})"
    code = (
        f"import sys, atexit; atexit.register(lambda: print(*{names}, sep='\\n', file=sys.stderr))"
    )
    command = (
        f"{code}; sys.argv = ['predict', 'table']; from stages import predict; cli = predict.cli;"
        f" predict.ROOT = predict.Path({str(root)!r}); cli.finish(predict.main, 'predict')"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    files = [Path(line) for line in done.stderr.splitlines()]
    packages = {
        match[1] for file in files if (match := re.search(r"/site-packages/([^/.]+)", str(file)))
    }
    assert packages - {"_distutils_hack", "_virtualenv", "typing_extensions"} == {
        "duckdb",
        "_duckdb",
        "msgspec",
    }
    c = REPOSITORY / "stages/predictor/c.py"  # only --c imports it
    assert c not in files


def test_the_image_has_the_files_that_predict_and_serve_import() -> None:
    lines = Path(".dockerignore").read_text().split()
    taken = {file for line in lines if line[0] == "!" for file in Path().glob(line[1:])}
    commands = map(Path, ("stages/predict.py", "stages/serve.py"))
    taken -= {Path(line) for line in lines}
    assert {file for file in taken if file.suffix == ".py"} == set().union(
        *map(all_imported, commands)
    )


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
    (root / "table").write_bytes(THIRD)
    for command in ("predict table > /dev/full", "predict > /dev/full < /dev/null"):
        done = shell(root, command)
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert done.stderr.count("\n") == 1
    assert "standard output is closed" in shell(root, "predict table >&-").stderr
    done = shell(root, f"(echo first; predict table --only) > {root}/both; cat {root}/both")
    assert done.stdout.startswith("first\nprediction\n")


@pytest.fixture(scope="module")
def long(root: Path) -> Path:
    """Make a table that takes seconds to predict."""
    query = f'SELECT i % 7 AS MedInc, 2 AS {sql.identifier(NAMES[1])}, 3 AS "select"'
    path = root / "long.parquet"
    duckdb.execute(f"COPY ({query} FROM range(20000000) t(i)) TO '{path}' (FORMAT parquet)")
    return path


@pytest.mark.parametrize(
    ("form", "signum"), [*zip(("csv", "parquet", "jsonl"), SIGNALS, strict=True)]
)
def test_a_signal_leaves_nothing(root: Path, long: Path, form: str, signum: int) -> None:
    link(root)
    folder = root / "stopped"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "stages.predict", str(long), "--output", f"stopped/out.{form}"]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE)
    while not any(path.stat().st_size for path in folder.glob("*/new")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_signal_at_any_time_is_no_traceback(root: Path, long: Path) -> None:
    link(root)
    command = [sys.executable, "-m", "stages.predict", str(long), "--output", "stopped.csv"]
    for wait in np.linspace(0.06, 0.5, 23):
        process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE)
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[1] == b"", wait
        assert process.returncode in (130, -signal.SIGINT)
        assert not list(root.glob("stopped.csv"))
        assert not list(root.glob(".*.part"))


def test_gzip_is_checked_before_anything_is_written(run: Run) -> None:
    packed = gzip.compress(THIRD * 1000, mtime=0)
    damaged = {
        "no checksum": packed[:-8],
        "half a checksum": packed[:-4],
        "another checksum": packed[:-8] + bytes(4) + packed[-4:],
        "something behind it": packed + b"junk",
    }
    for data in damaged.values():
        Path("t.gz").write_bytes(data)
        for output in ("o.csv", "o.parquet"):
            Path(output).write_text("what was there")
            refused(run("t.gz", "--output", output), "t.gz is damaged: ")
            refused(run("--output", output, stdin=data), "standard input is damaged: ")
            assert Path(output).read_text() == "what was there"


@pytest.mark.slow
def test_gzip_that_unpacks_to_much_takes_little_memory(root: Path) -> None:
    with gzip.open(root / "ones.gz", "wb", compresslevel=1) as file:
        file.write(FIRST + b"\n")
        for _ in range(300):
            file.write(b"1" * 1_000_000)
    done = shell(root, "ulimit -v 2000000; predict ones.gz")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "its last line is longer than 2,000,000 bytes" in done.stderr


def test_other_files_are_not_touched(run: Run) -> None:
    Path("o.csv.part").write_bytes(THIRD)
    Path("aim").write_text("a")
    Path("o.parquet.part").symlink_to("aim")
    assert run("o.csv.part", "--output", "o.csv").code == 0
    assert run("o.csv.part", "--output", "o.parquet").code == 0
    assert Path("o.csv.part").read_bytes() == THIRD
    assert Path("o.parquet.part").is_symlink()
    assert Path("aim").read_text() == "a"


@pytest.mark.slow
def test_two_at_a_time_with_one_output_leave_one_s_rows(root: Path, long: Path) -> None:
    other = f"(SELECT * REPLACE (5 AS \"select\") FROM '{long}' LIMIT 3000000)"
    duckdb.execute(f"COPY {other} TO '{root}/other.parquet' (FORMAT parquet)")
    duckdb.execute(f"COPY (FROM '{long}' LIMIT 3000000) TO '{root}/one.parquet' (FORMAT parquet)")
    one, two = (f"predict {name}.parquet --output both.parquet" for name in ("one", "other"))
    done = shell(root, f"{one} & first=$!; {two}; echo $?; wait $first; echo $?; ls -a {root}")
    assert done.stdout.split()[:2] == ["0", "0"], done.stderr
    assert ".part" not in done.stdout
    query = 'SELECT count(*), count(DISTINCT "select") FROM read_parquet(?)'
    assert duckdb.execute(query, [f"{root}/both.parquet"]).fetchall() == [(3_000_000, 1)]


def test_an_output_of_any_name(run: Run) -> None:
    Path("table").write_bytes(THIRD)
    for output in (os.fsdecode(b"\xff\xfe.parquet"), "a'b\n.jsonl", "é" * 100 + ".csv"):
        result = run("table", "--output", output)
        assert result.code == 0, result.err
        assert Path(output).stat().st_size
    Path("loop.csv").symlink_to("loop.csv")
    refused(run("table", "--output", "loop.csv"), "is not a file")


def test_malformed_lines_beyond_the_limit_are_some_or_more(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "REJECTS", 50)
    monkeypatch.setattr(scoring, "REJECTS", 50)
    Path("table").write_text(as_csv([ROWS[0], *[[1] * 9] * 40, ROWS[1]]))  # six errors a line
    result = run("table", "--on-error", "skip")
    assert predictions(result.out) == oracle(ROWS[:2]).tolist()
    assert re.search(r"dropped \d+ or more bad rows, kept 2$", result.err.strip())


@pytest.mark.parametrize("name", ["{a}", "[a]", "[", "{"])
def test_csv_whose_first_column_looks_like_json(run: Run, name: str) -> None:
    Path("table").write_text(as_csv([["x", *ROWS[0]]], [name, *NAMES]))
    assert predictions(run("table").out) == oracle(ROWS[:1]).tolist()


@pytest.mark.parametrize("value", ["+-1", "1_000", "--1", "1e+-5"])
def test_what_only_duckdb_takes_for_a_number_is_none(run: Run, value: str) -> None:
    Path("table").write_text(as_csv([[value, 2, 3]]))
    refused(run("table"), f"MedInc is '{value}', must be a finite number")


@pytest.mark.slow
def test_a_long_header_in_a_pipe(run: Run) -> None:
    header = [f"a column with a long name, {i}" for i in range(10_000)]
    text = as_csv([[*([1] * 10_000), *ROWS[0]]], [*header, *NAMES])
    assert predictions(run("--only", stdin=text.encode()).out) == oracle(ROWS[:1]).tolist()
    longer = ("x" * 20 + ",") * 60_000
    refused(run("-", stdin=longer.encode()), "its header is longer than 1 MB")


def test_a_message_is_short(run: Run) -> None:
    Path("table").write_text(as_csv([["x" * 1_000_000, 2, 3]]))
    result = run("table")
    refused(result, "MedInc is 'xxx")
    assert len(result.err) < 1200


def test_a_file_that_changes_between_the_passes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("table").write_bytes(THIRD)
    tally = scoring.Request.tally

    def then_change(request: scoring.Request) -> tuple[int, list[str]]:
        found = tally(request)
        Path("table").write_bytes(SECOND)
        return found

    monkeypatch.setattr(scoring.Request, "tally", then_change)
    refused(run("table", "--output", "o.csv"), "table changed while it was read")
    assert [path.name for path in Path().iterdir()] == ["table"]


def test_stderr_that_cannot_be_written_to(root: Path) -> None:
    for end in ("2>&-", "2>/dev/full"):
        assert shell(root, f"predict nothing {end}").returncode == 2
        done = shell(root, f"PYTHONIOENCODING=ascii predict --card {end} < /dev/null")
        assert (done.returncode, "R²" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        '"x"',
        "[]",
        '{"quantized": null}',
        "[" * 100_000,
        "1e999",
        HUGE,
    ],
)
def test_scores_that_are_damaged(run: Run, root: Path, text: str) -> None:
    saved = (root / "reports/scores.json").read_bytes()
    try:
        (root / "reports/scores.json").write_text(text)
        refused(run("--card"), "scores.json is damaged")
        refused(run(), "scores.json is damaged")
    finally:
        (root / "reports/scores.json").write_bytes(saved)


@pytest.mark.parametrize("piped", PIPED)
def test_what_is_passed_through_is_checked_too(run: Run, piped: bool) -> None:
    text = as_csv([[*row, "x"] for row in ROWS], [*NAMES, "note"]).encode()
    Path("table").write_bytes(text[:-2] + b"\xe9\n")
    source, stdin = ([], Path("table").read_bytes()) if piped else (["table"], None)
    refused(run(*source, stdin=stdin), "not utf-8")
    result = run(*source, "--on-error", "skip", stdin=stdin)
    assert predictions(result.out) == oracle(ROWS[:2]).tolist()
    assert "dropped 1 bad row, kept 2" in result.err


def test_a_quote_that_does_not_end_stops_even_skip(run: Run) -> None:
    Path("table").write_text(as_csv(ROWS) + '1,2,"3\n' + as_csv(ROWS).partition("\n")[2] * 100)
    refused(run("table", "--on-error", "skip"), "line 5 has a quote that does not end")


def test_the_mode_of_an_output_stays(run: Run) -> None:
    Path("table").write_bytes(THIRD)
    Path("o.csv").touch(0o600)
    assert run("table", "--output", "o.csv").code == 0
    assert Path("o.csv").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_pipe_that_does_not_wait(root: Path) -> None:
    (root / "table").write_text(as_csv([[1, 2, i] for i in range(50_000)]))
    slow = "import os, time; os.set_blocking(1, False)"
    reader = "import sys, time; time.sleep(1); print(len(sys.stdin.readlines()))"
    command = (
        f"({sys.executable} -c '{slow}'; predict table --only) | {sys.executable} -c '{reader}'"
    )
    assert shell(root, command).stdout == "50001\n"


def test_text_that_is_no_unicode_is_no_traceback(run: Run) -> None:
    refused(run("--sql", "\udcff"), "surrogates not allowed")
    refused(run(""), "cannot be read: No such file")


@pytest.mark.parametrize("piped", PIPED)
@pytest.mark.parametrize("key", ["note", "Note"])
def test_keys_of_json_that_differ_in_case_alone(run: Run, key: str, piped: bool) -> None:
    line = json.dumps(dict(zip(NAMES, ROWS[0], strict=True)) | {"Note": "a", key: "b"}) + "\n"
    Path("table").write_text(line)
    source, stdin = ([], line.encode()) if piped else (["table"], None)
    if key == "Note":
        assert predictions(run(*source, stdin=stdin).out) == oracle(ROWS[:1]).tolist()
    else:
        refused(run(*source, stdin=stdin), "keys differ in case alone: note")


def test_help_is_for_people(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for word in ("FILE", "--output", "--only", "--on-error", "--sql", "--card", "--c"):
        assert word in result.out


def test_a_gzip_of_several_members(run: Run) -> None:
    data = b"".join(gzip.compress(line + b"\n") for line in THIRD.splitlines())
    assert predictions(run("-", stdin=data).out) == oracle(ROWS).tolist()


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    for _ in range(50):
        if threading.active_count() <= before:
            return
        time.sleep(0.02)
    assert threading.active_count() <= before
