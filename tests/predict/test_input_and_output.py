"""Which files and pipes can be predicted, and what is written where."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.columns.sql import identifier
from tests.conftest import csv_of, posix
from tests.predict.conftest import (
    NAMES,
    ROWS,
    SCORES,
    Run,
    as_csv,
    oracle,
    predictions,
    refused,
)

TABLE = as_csv(ROWS).encode()

cells = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)
notations = st.sampled_from((repr, "{:.17e}".format, "{:+.17E}".format, "{:.20g}".format))
Drawn = tuple[list[str], list[list[str]], list[list[float]], dict[str, Any]]


@st.composite
def tables(draw: st.DrawFn) -> Drawn:
    """Draw a header, the cells as text, the features' values, and a dialect of CSV."""
    other = texts.map(str.strip).filter(lambda name: name not in ("", *NAMES, "prediction"))
    header = draw(st.permutations([*NAMES, *draw(st.lists(other, unique=True, max_size=3))]))
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
def test_csv_of_every_kind(run: Run, table: Drawn, bom: bool, packed: bool, piped: bool) -> None:
    header, rows, X, dialect = table
    rows = [[cell.replace("\n", dialect["lineterminator"]) for cell in row] for row in rows]
    header = [name.replace("\n", dialect["lineterminator"]) for name in header]
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows([header, *rows])
    bom = bom and "\n" not in header[0]  # is refused
    data = (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()
    Path("table").write_bytes(gzip.compress(data) if packed else data)
    result = run("-", stdin=Path("table").read_bytes()) if piped else run("table")
    assert result.code == 0, result.err
    got = list(csv.reader(io.StringIO(result.out, newline="")))
    assert got[0] == [*header, "prediction"]
    assert [row[:-1] for row in got[1:]] == rows
    assert [float(row[-1]) for row in got[1:]] == oracle(X).tolist()


@pytest.mark.parametrize("output", ["csv", "parquet"])
@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_every_format_to_every_other(run: Run, form: str, output: str) -> None:
    rows = np.random.default_rng(3).normal(0, 50, (5000, 3)).tolist()
    names = ", ".join(f"a[{i}] AS {identifier(name)}" for i, name in enumerate(NAMES, 1))
    packed = ", COMPRESSION gzip" if form.endswith("gz") else ""
    duckdb.execute(
        f"COPY (SELECT {names}, i AS id FROM (SELECT unnest(?) AS a, unnest(range(5000)) AS i))"
        f" TO 'table' (FORMAT {form.removesuffix('.gz')}{packed})",
        [rows],
    )
    assert run("table", "--output", f"out.{output}").code == 0
    result = duckdb.execute(f"FROM read_{output}('out.{output}')")
    assert [column[0] for column in result.description] == [*NAMES, "id", "prediction"]
    got = result.fetchall()
    assert [int(row[3]) for row in got] == list(range(5000))
    assert [list(row[:3]) for row in got] == rows
    assert [row[4] for row in got] == oracle(rows).tolist()
    assert sorted(path.name for path in Path().iterdir()) == [f"out.{output}", "table"]
    alone = run("table", "--only")
    assert alone.out == "prediction\n" + "".join(f"{row[4]!r}\n" for row in got)


@pytest.mark.parametrize(
    "stdin",
    [
        TABLE,
        gzip.compress(TABLE),
        TABLE.decode().encode("utf-16"),
        b"\xef\xbb\xbf\n" + TABLE.replace(b"\n", b"\r", 2),
    ],
)
@pytest.mark.parametrize("args", [[], ["-"], pytest.param(["/dev/stdin"], marks=posix)])
def test_a_pipe_is_read_like_a_file(run: Run, stdin: bytes, args: list[str]) -> None:
    assert predictions(run(*args, stdin=stdin).out) == oracle(ROWS).tolist()
    refused(run(stdin=b"a,b\n1,2\n"), "standard input: column")


def test_what_is_passed_through_keeps_its_text(run: Run) -> None:
    header = ["", "code", "Code", *NAMES]
    rows = [["007", "1e5", " x ", "1.50", "2", "+3"], ["", "NULL", "2020-01-01", "1e0", "2.", ".5"]]
    Path("table").write_text(as_csv(rows, header))
    result = run("table")
    assert result.err == ""
    p = oracle([[float(cell) for cell in row[3:]] for row in rows]).tolist()
    expected = [[*row, repr(value)] for row, value in zip(rows, p, strict=True)]
    assert result.out == as_csv(expected, ["column 1", *header[1:], "prediction"])
    refused(run("table", "--output", "out.parquet"), "differ in case alone")


def test_a_column_prediction_is_no_obstacle_to_predictions_alone(run: Run) -> None:
    Path("table").write_text(as_csv([["x", *ROWS[0]]], ["prediction", *NAMES]))
    refused(run("table"), "has a column prediction")
    assert predictions(run("table", "--only").out) == oracle(ROWS[:1]).tolist()


ENDS = ["prediction", "prediction_low", "prediction_high"]


@pytest.mark.parametrize("output", ["csv", "parquet"])
@pytest.mark.parametrize(("level", "half"), SCORES["half_widths"].items())
def test_an_interval_reaches_as_far_as_its_half_width(
    run: Run, level: str, half: float, output: str
) -> None:
    rows = np.random.default_rng(4).normal(0, 50, (200, 3)).tolist()
    Path("table").write_bytes(gzip.compress(as_csv([*rows, ["x", 1, 2]]).encode()))
    options = ["--on-error", "skip", "--output", f"out.{output}"]
    result = run("table", "--interval", level, *options)
    assert (result.code, "dropped 1 bad row" in result.err) == (0, True)
    found = duckdb.execute(f"FROM read_{output}('out.{output}')")
    assert [column[0] for column in found.description] == [*NAMES, *ENDS]
    assert {column[1] for column in found.description} == {"DOUBLE"}
    p = oracle(rows)
    expected = np.column_stack([p, p - half, p + half]).tolist()
    assert [list(row[3:]) for row in found.fetchall()] == expected
    alone = run("-", "--interval", level, "--only", stdin=as_csv(rows).encode())
    assert alone.out == csv_of(ENDS, *expected)


def test_columns_of_an_interval_are_in_the_way_of_one_alone(run: Run) -> None:
    for name in ENDS[1:]:
        Path("table").write_text(as_csv([["x", *ROWS[0]]], [name, *NAMES]))
        assert predictions(run("table").out) == oracle(ROWS[:1]).tolist()
        refused(run("table", "--interval", "0.9"), f"has a column {name} already")
        assert run("table", "--interval", "0.9", "--only").code == 0


def test_an_interval_that_cannot_be_had(run: Run) -> None:
    Path("table").write_bytes(TABLE)
    for level in ("0.7", "1", "", "90%", "nan"):
        refused(run("table", "--interval", level), f"--interval is {level!r}", "0.5", "0.95")
    for options in ([], ["--sql", "t"], ["--card"], ["--c"]):
        refused(run("--interval", "0.9", *options), "--interval and --output need a table")


@pytest.mark.parametrize("end", [b"", bytes(4), bytes(8)])
def test_a_damaged_gzip_is_refused_before_anything_is_written(run: Run, end: bytes) -> None:
    Path("t.gz").write_bytes(gzip.compress(TABLE * 1000, mtime=0)[:-8] + end)
    refused(run("t.gz", "--output", "o.csv"), "t.gz is damaged: ")
    assert [path.name for path in Path().iterdir()] == ["t.gz"]


FIRST, SECOND = as_csv([]).encode().strip(), as_csv([ROWS[0]]).encode()
NO_TABLES = [
    (b"", "is empty"),
    (FIRST, "there are no rows"),
    (FIRST + b"\r\n", "there are no rows"),
    (b"a,b\n1,2\n", "missing; found a, b"),
    (b"Income,select\n1,2\n", 'column é "q", x + y - z missing; found Income, select'),
    (SECOND.replace(b"Income", b"income"), "column Income missing; found income"),
    (b"Income," + SECOND.replace(b"\n1.5", b"\n1,1.5"), "more than one column is called Income"),
    (",".join(map(str, range(100))).encode(), "18, 19 and 80 more"),
    (b"\xef\xbb\xbf\n1,2\n", "missing; found"),
    (bytes(range(256)), "is not a table"),
    (TABLE.decode().encode("utf-16-le"), "is not a table"),
    (TABLE.decode().encode("utf-16")[:-1], "truncated data"),
    (SECOND.decode().encode("latin-1"), "header is not UTF-8; if it is Windows-1252, `iconv"),
    (SECOND + b"1,2,\xff\n", "Line: 3; Original Line: 1,2,?; "),
    (SECOND + b"1,2,\xff\n", "not utf-8 encoded.; if it is Windows-1252, `iconv -f WINDOWS-1252"),
    (b"PK\3\4" + bytes(99), "is a spreadsheet or a zip: export the sheet as CSV in UTF-8, or unp"),
    (SECOND + b'"1,2,3\n', "unterminated quote"),
    (b"PAR1 and no more", "magic bytes"),
    (b"\x1f\x8b\x08 and no more", "damaged"),
    (gzip.compress(b"PAR1"), "magic bytes"),
    (b'{"Income": 1}\n', "missing; found {"),
    (b'{"Income": 1}\n', "is it JSON? `python -c"),
]


@pytest.mark.parametrize(("data", "message"), NO_TABLES)
def test_what_is_no_table(run: Run, data: bytes, message: str) -> None:
    Path("table").write_bytes(data)
    refused(run("table", "--output", "out.csv"), message, "table")
    assert [path.name for path in Path().iterdir()] == ["table"]


@posix
def test_an_endless_device_is_refused(run: Run) -> None:
    refused(run("/dev/zero"), "/dev/zero is a device, must be a file or a pipe")


def test_files_that_cannot_be_used(run: Run) -> None:
    Path("table").write_bytes(TABLE)
    Path("folder.csv").mkdir()
    refused(run("nothing"), "nothing cannot be read: No such file")
    refused(run("folder.csv"), "folder.csv cannot be read: ")
    refused(run("table", "--output", "out.txt"), "must end in .csv or .parquet")
    refused(run("table", "--output", "no/out.csv"), "its folder is missing")
    refused(run("table", "--output", "folder.csv"), "folder.csv is a folder")
    refused(run("--output", "out.csv"), "standard input is empty")
    assert not Path("out.csv").exists()


@posix
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_names_that_are_patterns_to_duckdb(run: Run, form: str) -> None:
    Path("[in] *").mkdir()
    columns = ", ".join(map(identifier, NAMES))
    for name, row in zip(("a?b[1]*'.csv", "axb1'.csv"), ROWS, strict=False):
        query = f"SELECT * FROM (VALUES ({row[0]}, {row[1]}, {row[2]})) AS t({columns})"
        duckdb.execute(f"COPY ({query}) TO ? (FORMAT {form})", [f"[in] */{name}"])
    name = "[in] */a?b[1]*'.csv"
    assert run(name, "--output", name).code == 0  # the output may be the input
    assert predictions(Path(name).read_text()) == oracle(ROWS[:1]).tolist()
    assert len([*Path("[in] *").iterdir()]) == 2
