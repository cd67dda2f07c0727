"""What is said about rows that cannot be predicted, and what --on-error skip does about them."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from stages.columns import lines, source
from stages.columns.engine import DuckDB
from stages.columns.sql import identifier
from stages.predictor import scoring
from tests.predict.conftest import NAMES, ROWS, Run, as_csv, oracle, predictions, refused

BAD = [
    ("abc", "'abc', must be a finite number"),
    ("", "is empty, must be a finite number"),
    ("x" * 1_000_000, "xxx…', must be a finite number"),
    *(
        (text, f"'{text}', must be a finite number")
        for text in (
            *(" ", "nan", "inf", "-Infinity", "1e400", "1,5", "0x10", "true", "NULL", "2024-01-01"),
            *("+-1", " +-1", "1_000", "1e+-5"),  # numbers to DuckDB alone
        )
    ),
]


@pytest.mark.parametrize(("value", "message"), BAD)
def test_a_bad_value_is_named_and_leaves_what_was_there(run: Run, value: str, message: str) -> None:
    Path("table").write_text(as_csv([ROWS[0], [1, value, 3], ROWS[1], ["?", 2, 3]]))
    Path("out.csv").write_text("what was there")
    words = (f"table: row 2 below the header: {NAMES[1]} ", message, "(2 bad rows in all)")
    for options in ([], ["--output", "out.csv"]):
        result = run("table", *options)
        refused(result, *words)
        assert len(result.err) < 400
    assert Path("out.csv").read_text() == "what was there"
    assert sorted(path.name for path in Path().iterdir()) == ["out.csv", "table"]


def test_a_bad_value_of_parquet_is_named(run: Run) -> None:
    columns = f'2 AS {identifier(NAMES[1])}, 3 AS "select"'
    duckdb.execute(
        f"COPY (SELECT unnest(['1.5', NULL, 'inf']::DOUBLE[]) AS Income, {columns})"
        " TO 't' (FORMAT parquet)"
    )
    refused(run("t"), "t: row 2: Income is empty", "(2 bad rows in all)")
    duckdb.execute(f"COPY (SELECT DATE '2020-01-01' AS Income, {columns}) TO 't' (FORMAT parquet)")
    refused(run("t"), "Income must be a finite number, its type is DATE")


def test_an_infinite_prediction_is_refused(run: Run) -> None:
    Path("table").write_text(as_csv([[1.7e308, -1.7e308, 1.7e308]]))
    refused(run("table"), "row 1 below the header: the prediction is too large")
    refused(run("table", "--on-error", "skip"), "all rows are bad, 1")


@pytest.mark.slow
def test_the_first_of_many_bad_rows_and_their_number(run: Run) -> None:
    n, first = 400_000, 150_001  # several of the blocks that DuckDB gives to threads
    rows = [f"1,2,{i if i < first - 1 or i % 3 else 'x'}" for i in range(n)]
    bad = sum(row.endswith("x") for row in rows)
    Path("table").write_text("\n".join([as_csv([]).strip(), *rows]))
    refused(run("table"), f"row {first:,} below", f"({bad:,} bad rows in all)")
    result = run("table", "--on-error", "skip", "--only", "--output", "out.csv")
    assert result.err.startswith(f"predict: table: dropped {bad:,} bad rows, kept {n - bad:,}\n")
    kept = [float(row[4:]) for row in rows if "x" not in row]
    assert predictions(Path("out.csv").read_text()) == oracle([[1, 2, x] for x in kept]).tolist()


def test_lines_that_are_no_rows(run: Run) -> None:
    Path("table").write_text(as_csv([ROWS[0], [1, 2], [1, 2, 3, 4], ["x", 2, 3], ROWS[1]]))
    refused(run("table"), "Line: 3", "Expected Number of Columns: 3 Found: 2")
    result = run("table", "--on-error", "skip")
    assert predictions(result.out) == oracle(ROWS[:2]).tolist()
    assert result.err == "predict: table: dropped 3 bad rows, kept 2\n"


def test_malformed_lines_beyond_the_limit_are_at_least_so_many(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "REJECTS", 50)
    monkeypatch.setattr(scoring, "REJECTS", 50)
    Path("table").write_text(as_csv([ROWS[0], *[[1] * 9] * 40, ROWS[1]]))  # six errors a line
    result = run("table", "--on-error", "skip")
    assert predictions(result.out) == oracle(ROWS[:2]).tolist()
    assert "dropped at least " in result.err


def test_what_is_passed_through_is_checked_too(run: Run) -> None:
    text = as_csv([[*row, "x"] for row in ROWS], [*NAMES, "note"]).encode()
    Path("table").write_bytes(text[:-2] + b"\xe9\n")
    refused(run("table", "--output", "out.csv"), "not utf-8")
    assert not Path("out.csv").exists()
    result = run("table", "--on-error", "skip")
    assert predictions(result.out) == oracle(ROWS[:2]).tolist()
    assert "dropped 1 bad row, kept 2" in result.err


def test_a_quote_that_does_not_end_stops_even_skip(run: Run) -> None:
    Path("table").write_text(as_csv(ROWS) + '1,2,"3\n' + as_csv(ROWS).partition("\n")[2] * 100)
    refused(run("table", "--on-error", "skip"), "line 5 has a quote that does not end")


@pytest.mark.parametrize("options", [[], ["--on-error", "skip"]])
def test_a_quote_that_does_not_end_stops_also_one_thread(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(lines, "SPLIT", 0)
    header = [*NAMES, "note"]
    rows = [[1, 2, 3, note] for note in ("x\ny", 'x "y"\r\n\nz', "", "x, y")]
    Path("table").write_bytes(as_csv(rows, header).encode())
    assert predictions(run("table", *options).out) == [*oracle([[1, 2, 3]])] * 4
    # the quote of the first row is a text, and DuckDB takes one behind a space for one
    for note in ('"x', '7" , "x', ' "x', '"x"y'):
        Path("table").write_text(as_csv(rows[:1], header) + f"1,2,3,{note}\n" + "1,2,3,\n" * 9)
        refused(
            run("table", *options), "table: line 4 has a quote that does not end, or is damaged"
        )


@pytest.mark.slow
def test_no_row_is_lost_or_made_up_where_threads_begin(run: Run) -> None:
    """Near 8 MB DuckDB begins with another thread, here between texts that look like rows."""
    note = ["", "x", '1,2,3,"\n1,2,3,\n\n', '""', '"\n", 1,2,3', "1,2\n" * 50]
    rows = [[1, 2, i, note[i % 6] * (i % 5)] for i in range(400_000)]
    Path("table").write_text(as_csv(rows, [*NAMES, "note"]))
    assert Path("table").stat().st_size > 24_000_000
    for options in ([], ["--on-error", "skip"]):
        result = run("table", *options, "--output", "out.parquet")
        assert "dropped" not in result.err
        query = 'SELECT count(*), count(DISTINCT "select"), sum("select") FROM out.parquet'
        assert duckdb.execute(query).fetchall() == [(400_000, 400_000, 399_999 * 200_000)]
    # short lines, at each of which DuckDB might lose the rows of a thread
    Path("table").write_text(as_csv([row[: 2 + (i % 9 > 0)] for i, row in enumerate(rows)] * 2))
    result = run("table", "--on-error", "skip", "--only", "--output", "out.parquet")
    assert "dropped 88,890 bad rows, kept 711,110" in result.err


def test_rows_outside_the_training_range_are_counted(run: Run) -> None:
    limits = [[-10, 0, -1e6], [10, 100, 1e6]]
    Path("table").write_text(as_csv(limits))
    assert run("table").err == ""
    Path("table").write_text(as_csv([*limits, [10.5, 101, 0], [0, -0.5, 0], [0, 0, 0]]))
    assert run("table").err == (
        "predict: table: 2 of 5 rows outside the training range,"
        f" most often in {NAMES[1]}, 0 to 100\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_all_threads_count_rows(run: Run, form: str) -> None:
    columns = f'i % 7 AS "select", CASE WHEN i % 9 > 0 THEN 2 END AS {identifier(NAMES[1])}'
    query = f"SELECT CASE i % 100 WHEN 1 THEN 11 ELSE 1 END AS Income, {columns} FROM range(300000)"
    duckdb.execute(f"COPY ({query} AS t(i)) TO 'table' (FORMAT {form})")
    good = [i for i in range(300_000) if i % 9]
    outside = sum(i % 100 == 1 for i in good)
    result = run("table", "--on-error", "skip", "--only", "--output", "out.csv")
    assert result.err == (
        f"predict: table: dropped {300_000 - len(good):,} bad rows, kept {len(good):,}\n"
        f"predict: table: {outside:,} of {len(good):,} rows outside the training range,"
        " most often in Income, -10 to 10\n"
    )
    rows = [[11 if i % 100 == 1 else 1, 2, i % 7] for i in good]
    assert predictions(Path("out.csv").read_text()) == oracle(rows).tolist()


def test_a_good_file_is_read_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[str] = []
    execute = DuckDB.rows

    def rows(on: DuckDB, query: str) -> list[Any]:
        queries.append(query)
        return execute(on, query)

    monkeypatch.setattr(DuckDB, "rows", rows)
    Path("table").write_text(as_csv([*ROWS, [11, 2, 3]]))
    assert "1 of 4 rows outside" in run("table").err
    assert sum("read_csv" in query for query in queries) == 1
