"""Tables of one's own: how they are read, and what they give in the whole pipeline."""

import gzip
import hashlib
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import joblib
import numpy as np
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
import yaml
from sklearn.model_selection import train_test_split

from stages import evaluate, load, predict, quantize, train
from stages.columns import engine
from stages.columns.inputs import Schema
from stages.project.cli import InputError
from stages.project.files import MODEL, SCORES, SUMS, TEST, TRAIN
from stages.project.params import Load
from stages.quantizer import solve
from stages.tables import datasets, raw, table
from stages.tables.encoding import check_gaps, encoded
from tests.conftest import csv_of, rows_of, schema_of

Row = Sequence[object]
ROWS = [[1.5, "Rome", 3, 7.25], [2.5, "Oslo", 4, -1e3], [0.5, "Rio", 5, 0]]
HEADER = ["size", "city", "price", "age"]


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty checkout, where `python -m stages.NAME` runs our modules."""
    monkeypatch.chdir(tmp_path)
    raw.FOLDER.mkdir(parents=True)
    (tmp_path / "stages").symlink_to(Path(predict.__file__).parent)
    return tmp_path


def write_csv(
    rows: Sequence[Row], name: str = "t.csv", header: Row = HEADER, **dialect: str
) -> None:
    (raw.FOLDER / name).write_text(csv_of(header, *rows, **dialect), encoding="utf-8")


def write_parquet(query: str, name: str = "t.parquet") -> None:
    duckdb.execute(f"COPY ({query}) TO '{raw.FOLDER / name}' (FORMAT parquet)")


@dataclass(frozen=True)
class Gathered:
    """What a data set becomes, and all of its columns: features, target, key."""

    schema: Schema
    columns: dict[str, Any]
    left_out: Mapping[str, str]

    @property
    def X(self) -> np.ndarray:  # noqa: N802
        return np.column_stack([self.columns[name] for name in self.schema.features])

    @property
    def y(self) -> np.ndarray:
        return np.asarray(self.columns[self.schema.target])


LOAD: dict[str, Any] = {
    "target": "price",
    "features": None,
    "unit": None,
    "key": None,
    "missing": "fail",
    "levels": 50,
    "test_size": 0.2,
    "seed": 42,
}


def read(name: str = "data/raw/t.csv", **wanted: Any) -> Gathered:
    config = Load(name, **LOAD | wanted)
    scratch = Path("scratch")
    scratch.mkdir(exist_ok=True)
    with engine.connect(name) as connection:
        found = datasets.gather(config, scratch, connection)
        columns = connection.execute(f"FROM {table.VIEW}").fetchnumpy()
        encoding = encoded(found, f"FROM {table.VIEW} WHERE TRUE", config)
    check_gaps(encoding, found.n_rows)
    assert found.n_rows == len(columns[found.target])
    return Gathered(encoding.schema, columns, encoding.left_out)


def run(**changed: Any) -> dict[str, Any]:
    """Run the four stages, and return the metrics."""
    write_parameters(**changed)
    for stage in (load, train, quantize, evaluate):
        stage.main()
    metrics: dict[str, Any] = json.loads(SCORES.read_text(encoding="utf-8"))
    return metrics


def write_parameters(**changed: Any) -> None:
    parameters: dict[str, Any] = {
        "load": LOAD | {"dataset": "data/raw/t.csv"},
        "quantize": {"bits": 8, "rounding": "optimal"},
        "evaluate": {"samples": 10},
        "gate": {"min_r2": 0.5, "max_r2_drop": 0.001},
    }
    parameters["load"] |= changed
    Path("params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")


def predicted(*args: str) -> str:
    command = [sys.executable, "-m", "stages.predict", *args]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def least_squares(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fit by the normal equations' solution of least norm: weights, then the intercept."""
    solution, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)
    return np.asarray(solution)


# reading


@pytest.mark.parametrize("form", ["csv", "semicolons", "csv.gz", "parquet", "two files"])
def test_a_file_is_the_same_table_in_every_form(form: str) -> None:
    whole = datasets.diabetes()
    header = [*whole.columns]
    rows = rows_of(whole).block.tolist()
    path = raw.FOLDER / f"t.{form}"
    match form:
        case "csv":
            write_csv(rows, header=header)
        case "semicolons":
            path = raw.FOLDER / "t.csv"
            write_csv(rows, header=header, delimiter=";")
        case "csv.gz":
            write_csv(rows, header=header)
            path.write_bytes(gzip.compress((raw.FOLDER / "t.csv").read_bytes()))
        case "parquet":
            write_csv(rows, header=header)
            write_parquet(f"FROM '{raw.FOLDER}/t.csv'")
        case "two files":
            path = raw.FOLDER / "*.csv"
            write_csv(rows[:100], "a.csv", header)
            write_csv([row[::-1] for row in rows[100:]], "b.csv", header[::-1])
    found = read(str(path), target=whole.target)
    assert found.X.tobytes() == rows_of(whole).X.tobytes()
    assert found.y.tolist() == rows_of(whole).y.tolist()
    assert found.schema == schema_of(str(path), whole.target, "its own unit", tuple(header[:-1]))


def test_columns_that_cannot_be_inputs_are_left_out_each_with_its_reason() -> None:
    rows = [[i, *row, "", "a\nb" if i else "c", "new"] for i, row in enumerate(ROWS)]
    write_csv(rows, header=["", *HEADER, "note", "odd", "state"])
    found = read(levels=2)
    assert found.schema.features == ("size", "age")
    assert found.X.tolist() == [[1.5, 7.25], [2.5, -1000.0], [0.5, 0.0]]
    assert found.y.tolist() == [3, 4, 5]
    assert found.left_out == {
        "": "it has no name",
        "city": "text of 3 levels, load.levels is 2",
        "note": "it has no values",
        "odd": "its level 'a\\nb' does not print",
        "state": "the same text in all training rows",
    }
    with pytest.raises(InputError, match=r"load\.features: city: text of 3 levels"):
        read(levels=2, features=["age", "city"])


def test_types_of_parquet_are_known() -> None:
    write_parquet(
        "SELECT i AS a, i::DECIMAL(9, 2) AS b, i % 2 = 0 AS even, DATE '2026-01-01' AS day,"
        " [i] AS list, i * i AS price FROM range(3) AS t(i)"
    )
    found = read("data/raw/t.parquet")
    assert found.schema.kinds == {"a": "number", "b": "number", "even": "boolean", "day": "date"}
    assert found.left_out == {"list": "its type is BIGINT[]"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["true", "False", "", "TRUE"], "boolean"),
        (["F", "F", "M", "F"], "text"),
        (["N", "N", "S", "N"], "text"),
        (["0", "1", "1", "0"], "number"),
    ],
)
def test_a_column_is_boolean_if_all_of_its_values_are(values: list[str], kind: str) -> None:
    write_csv([[value, i] for i, value in enumerate(values)], header=["x", "price"])
    assert read(missing="mean").schema.kinds == {"x": kind}


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        ("TIMESTAMPTZ_NS", "TIMESTAMP_NS '2020-01-01 00:00:00.5'"),
        ("DATE", "DATE '2020-01-01' + i::INT"),
        ("DATE", "CASE WHEN i = 1 THEN 'infinity'::DATE ELSE '2020-01-01' END"),
        ("DATE", "CASE WHEN i = 1 THEN '400000-01-01'::DATE ELSE '2020-01-01' END"),
        ("DATE", "CASE WHEN i = 1 THEN '12000-01-01'::DATE ELSE '2020-01-01' END"),
    ],
)
def test_dates_of_parquet_are_years_that_can_be_written(sort: str, value: str) -> None:
    write_parquet(f"SELECT {value} AS day, i AS price FROM range(3) AS t(i)")
    if "CASE" in value:
        with pytest.raises(InputError, match=r"row 2: day is .*, must be a date"):
            read("data/raw/t.parquet")
    else:
        assert read("data/raw/t.parquet").schema.kinds == {"day": "date"}


@pytest.mark.parametrize("value", ["[DATE '2020-01-01']", "[1.5]", "[TIMESTAMP '2020-01-01']"])
def test_lists_are_left_out(value: str) -> None:
    write_parquet(f"SELECT {value} AS list, i AS x, i AS price FROM range(3) AS t(i)")
    assert read("data/raw/t.parquet").left_out["list"].endswith("[]")


def test_nan_is_a_gap_also_where_parquet_tells_a_range_without_it() -> None:
    columns = {"x": [1.0, np.nan, 3.0], "price": [1.0, 2.0, 3.0]}
    pyarrow.parquet.write_table(pyarrow.table(columns), raw.FOLDER / "t.parquet")
    with pytest.raises(InputError, match="1 of 3 rows have a gap, x in 1"):
        read("data/raw/t.parquet")


def test_a_target_without_values_is_named() -> None:
    write_csv([[1, ""], [2, ""]], header=["x", "price"])
    with pytest.raises(InputError, match="price cannot be the target: it has no values"):
        read()


def test_levels_that_sql_takes_for_one_are_two_columns() -> None:
    levels = ["z", "z", "z", "z", "a", "A", "A'", "A (2)"] * 9
    write_csv([[text, i % 7] for i, text in enumerate(levels)], header=["t", "price"])
    run_load_of("price")
    found = table.read(TRAIN)
    assert found.schema.features == ("t = A", "t = A (2)", "t = A'", "t = a")
    [block] = found.blocks()
    assert (block[:, :4].sum(axis=1) <= 1).all()
    assert (block[:, :4].sum(axis=0) > 0).all()


@pytest.mark.parametrize("cell", ['5" inch' + "w" * 140_000, '"' + "w" * 140_000 + '"'])
def test_a_long_cell_of_a_file_with_semicolons_is_no_bug(cell: str) -> None:
    (raw.FOLDER / "t.csv").write_text(f"price;x;t\n1;2;a\n2;3;{cell}\n")
    assert read(features=["x"]).y.tolist() == [1, 2]


def test_features_and_unit_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(ROWS)
    found = read(features=["age"], target="size", unit="m²")
    assert found.schema == schema_of("data/raw/t.csv", "size", "m²", ("age",))
    assert found.X.tolist() == [[7.25], [-1000.0], [0.0]]
    assert capsys.readouterr().err == ""


NUMBER = "must be a finite number, 0 or 1e-100 to 1e+100 in size"


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("a,price\n1,2\n", {"target": None}, "load.target must name the column of"),
        ("a,price\n1,2\n", {"target": None}, "to predict, one of a, price"),
        ("a,price\n1,2\n", {"target": "cost"}, "column cost missing; found a, price"),
        ("a,price\n1,2\n", {"features": ["b"]}, "column b missing; found a, price"),
        ("a,price\n1,2\n", {"features": ["price"]}, "load.features must not have the target"),
        ("price\n1\n", {}, "no column but price can be an input"),
        ("a,price\nx,2\n", {}, "no column but price can be an input"),
        (
            "a,b,price\n1,1,2\nn/a,1,3\n,2,4\n8,?,x\n5,6,7\n",
            {},
            f"row 2 below the header: a is 'n/a', {NUMBER}, or be left out of load.features"
            " (2 bad rows in all)",
        ),
        ("a,price\n1,x\n", {}, f"row 1 below the header: price is 'x', {NUMBER} (1 bad row in"),
        ("a,price\n1,2\nnan,3\n", {}, "1 of 2 rows have a gap, a in 1"),
        (
            "a,b,price\n1,,2\n,,3\n4,5,6\n7,8,\n",
            {},
            "3 of 4 rows have a gap, a in 1, b in 2, price in 1; load.missing: drop leaves these",
        ),
        ("a,price\n1,2\n-inf,3\n", {}, f"a is '-inf', {NUMBER}"),
        ("a,price\n1,2\n1e101,3\n", {}, f"a is '1e101', {NUMBER}"),
        ("a,price\n1,2\n1e-101,3\n", {}, f"a is '1e-101', {NUMBER}"),
        # 12 is a text in a column of texts
        ("b,price\n12,1\nx,2\ny,?\n", {}, f"row 3 below the header: price is '?', {NUMBER} (1 bad"),
        # a column's name is no name of DuckDB's for something else
        ("rowid,b,price\n3,5,2\n0,q,4\n", {}, f"row 2 below the header: b is 'q', {NUMBER}"),
        ("a,price\n", {}, "has no rows"),
        ('"a\nb",price\n1,2\n', {}, "'a\\nb' cannot be the name of a column"),
        ('{"price": 1, "a": 2}\n', {}, "is JSON, must be CSV or Parquet"),
        ("a,price\n1,2\n3\n", {}, "Expected Number of Columns: 2"),
        ("a,a,price\n1,2,3\n", {}, "more than one column is called a"),
        ("a,A,price\n1,2,3\n", {}, "a and A differ in case alone"),
        ("Ä,ä,price\n1,2,3\n", {}, "Ä and ä differ in case alone"),
        ("a,Price,price\n1,2,3\n", {}, "Price and price differ in case alone"),
        ("a,error,price\n1,2,3\n", {}, "no feature can be called error"),
        ("a,prediction,price\n1,2,3\n", {}, "no feature can be called prediction"),
        ("", {}, "is empty"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    text: str, wanted: dict[str, Any], message: str
) -> None:
    (raw.FOLDER / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        read(**wanted)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert wanted.get("features") == ["price"] or "data/raw/t.csv" in str(raised.value)


def test_the_file_and_the_row_in_it_are_named() -> None:
    write_csv(ROWS, "a.csv")
    write_csv([*ROWS, ["x", "Bern", 1, 2]], "b.csv")
    write_csv(ROWS, "c.csv")
    with pytest.raises(InputError, match=r"^data/raw/b.csv: row 4 below the header: size is 'x'"):
        read("data/raw/*.csv")
    write_csv(ROWS, "b.csv", ["size", "city", "cost", "age"])
    with pytest.raises(InputError, match=r"^data/raw/b.csv: column price missing"):
        read("data/raw/?.csv")


@pytest.mark.parametrize(
    "name", ["iris", "t.csv", "/etc/passwd", "data/raw/../../t.csv", "data/raw"]
)
def test_only_files_that_dvc_sees_are_read(name: str) -> None:
    Path("t.csv").touch()
    with pytest.raises(InputError, match="must be california_housing, diabetes or files below"):
        read(name)


@pytest.mark.parametrize("name", ["data/raw/*", "data/raw/**.csv", "data/raw/t.parquet"])
def test_a_file_that_is_missing_is_named(name: str) -> None:
    for file in (".gitignore", "t.csv.dvc"):  # are of git and DVC
        (raw.FOLDER / file).touch()
    with pytest.raises(InputError, match=re.escape(name)):
        read(name)


def test_wildcards_in_a_name_that_exists_are_letters() -> None:
    write_csv(ROWS, "t[1].csv")
    write_csv(ROWS[:1], "t1.csv")
    assert len(read("data/raw/t[1].csv").y) == len(ROWS)


# the whole pipeline


@pytest.mark.slow
def test_diabetes_as_a_file_gives_the_metrics_of_the_data_set() -> None:
    expected = run(dataset="diabetes", target=None)
    whole = datasets.diabetes()
    write_csv(rows_of(whole).block.tolist(), header=[*whole.columns])
    found = run(target=whole.target)
    for scores in (found, expected):
        del scores["bytes"], scores["predictor"]  # of a file that has the name of the table
    assert found == expected
    assert "all 10 predictions are those" in predicted()


def test_one_feature() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(20, 5, 200)
    y = 3 - 0.25 * x + rng.normal(0, 0.1, 200)
    write_csv(np.column_stack([x, y]).tolist(), header=["x", "y"])
    metrics = run(target="y")
    assert 0 < metrics["quantization"]["mse_growth_percent"] < 0.5  # (1.25 · 2^-8)² / 0.1² at most
    assert metrics["quantization"]["optimal"]
    [line] = predicted("data/raw/t.csv", "--only").splitlines()[1:2]
    learned = duckdb.read_parquet(str(TRAIN / table.ROWS)).fetchnumpy()
    slope, intercept = least_squares(learned["x"][:, None], learned["y"])
    bound = metrics["quantization"]["prediction_difference"]["bound"]
    assert learned["x"].min() <= x[0] <= learned["x"].max()
    assert float(line) == pytest.approx(intercept + slope * x[0], abs=bound)


NAMES = [
    "two words",
    'a "quote"',
    "it's",
    "größe",
    "数",
    "select",
    "GROUP BY",
    "a.b",
    "*",
    "c0",
    "n1",
]


@pytest.mark.slow
def test_names_of_features_may_be_anything() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, len(NAMES))) * 10.0 ** np.arange(-5, 6)
    y = X @ (rng.normal(size=len(NAMES)) / X.std(axis=0)) + rng.normal(size=100)
    write_csv(np.column_stack([X, y]).tolist(), header=[*NAMES, "from"])
    metrics = run(target="from", unit="€")
    assert metrics["quantization"]["mse_growth_percent"] < 0.01
    assert "all 10 predictions are those" in predicted()
    learned = duckdb.read_parquet(str(TRAIN / table.ROWS)).fetchnumpy()
    *weights, intercept = least_squares(
        np.column_stack([learned[name] for name in NAMES]), learned["from"]
    )
    bound = metrics["quantization"]["prediction_difference"]["bound"]
    output = predicted("data/raw/t.csv", "--only").splitlines()[1:]
    train_rows = (X >= np.min([learned[n] for n in NAMES], axis=1)) & (
        X <= np.max([learned[n] for n in NAMES], axis=1)
    )
    error = np.abs(np.array(output, float) - (X @ weights + intercept))
    assert error[train_rows.all(axis=1)].max() <= bound
    rows = duckdb.execute(predicted("--sql", f"'{raw.FOLDER}/t.csv'")).fetchall()
    assert [repr(row[-1]) for row in rows] == output
    assert "from, in €" in predicted("--card")


@pytest.mark.slow
def test_columns_that_teach_nothing_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(2)
    x, z = rng.normal(50, 3, 100), rng.normal(size=100)
    y = 2 * x - z + rng.normal(0, 0.1, 100)
    columns = [x, np.full(100, 7.5), z, x, np.zeros(100)]
    write_csv(np.column_stack([*columns, y]).tolist(), header=["x", "c", "z", "same", "zero", "y"])
    metrics = run(target="y")
    assert capsys.readouterr().err.splitlines() == [
        "train: left out, as they do not vary by 2^-53 of their size: c, zero",
        "train: left out, as they follow from the other features: same",
    ]
    # each weight's error is 2^-8 of it at most: (6² + 1²) / 4^8 of 0.1², and that varies by draw
    assert 0 < metrics["quantization"]["mse_growth_percent"] < 7
    assert metrics["quantization"]["optimal"]
    assert "all 10 predictions are those" in predicted()
    # neither the model nor the predictor wants them
    model = joblib.load(MODEL)
    learned = duckdb.read_parquet(str(TRAIN / table.ROWS)).fetchnumpy()
    weights = least_squares(np.column_stack([learned["x"], learned["z"]]), learned["y"])
    expected = weights[:2] @ [x[0], z[0]] + weights[2]
    assert model.predict([[x[0], z[0]]])[0] == pytest.approx(expected, rel=1e-12)
    write_csv([[z[0], x[0]]], "p.csv", ["z", "x"])
    assert float(predicted("data/raw/p.csv", "--only").split()[1]) == pytest.approx(expected, 1e-3)


def test_a_target_that_varies_by_less_than_is_counted_is_refused() -> None:
    write_csv([[i, 1 - 2.0**-53 * (i % 2)] for i in range(40)], header=["x", "y"])
    with pytest.raises(InputError, match="y varies too little"):
        run(target="y")


def test_a_column_may_be_called_like_one_of_ours() -> None:
    names = ["file_row_number", "place", "places", "gathered", "rowid", "row"]
    write_csv([[i + j * j for j in range(6)] + [i % 3] for i in range(9)], header=[*names, "price"])
    assert read().schema.features == tuple(names)
    write_csv([[i] * 6 + ["x" if i == 4 else 1] for i in range(9)], header=[*names, "price"])
    with pytest.raises(InputError, match="row 5 below the header: price is 'x'"):
        read()


def test_a_table_in_which_nothing_varies_is_refused() -> None:
    write_csv([[7, i] for i in range(20)], header=["x", "y"])
    with pytest.raises(InputError, match="no feature varies"):
        run(target="y")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1.0, 1.0), (1e99, 1.0), (1e-40, 1.0), (1.0, 1e99), (1e9, 1e-9)],
)
def test_numbers_of_any_size_go_through(factor: float, unit: float) -> None:
    rng = np.random.default_rng(5)
    x, z, noise = rng.normal(size=(3, 100))
    write_csv(
        np.column_stack([x * factor, z, unit * (x + z + 0.1 * noise)]).tolist(),
        header=["x", "z", "y"],
    )
    with warnings.catch_warnings(action="error"):
        metrics = run(target="y")
    assert metrics["float"]["test"]["r2"] > 0.98
    # each weight's error is 2^-8 of it at most: (1 + 1) / 4^8 of 0.1², and that varies by draw
    assert 0 < metrics["quantization"]["mse_growth_percent"] < 0.4
    assert metrics["quantization"]["optimal"]


def test_a_test_row_whose_error_is_no_number_is_refused() -> None:
    x, z, noise = np.random.default_rng(0).normal(size=(3, 100))
    y = (x + z + 0.1 * noise) * 1e90
    _, test = train_test_split(np.arange(100), test_size=0.2, random_state=42)
    x[test[0]] = -1e100
    write_csv(np.column_stack([x, z, y]).tolist(), header=["x", "z", "y"])
    with pytest.raises(InputError, match=r"data/test: a row lies so far outside"):
        run(target="y")
    assert not Path("reports").exists()


def test_a_target_in_too_large_a_unit_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv([[i, i % 2 * 1e-8] for i in range(20)], header=["x", "y"])
    run(target="y")
    assert capsys.readouterr().err == (
        "train: y varies by 5e-09 only, and reports have 6 decimals: choose a smaller unit\n"
    )


@pytest.mark.slow
def test_300_correlated_features_keep_within_the_budget() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=(2000, 1))
    X = common + 0.3 * rng.normal(size=(2000, 300))
    y = X @ rng.normal(size=300) + rng.normal(size=2000)
    write_csv(
        np.column_stack([X, y]).round(4).tolist(), header=[*(f"x{i}" for i in range(300)), "y"]
    )
    metrics = run(target="y")["quantization"]
    assert metrics["nodes"] <= solve.NODES // 300
    assert not metrics["optimal"]


# keys


def houses(rng: np.random.Generator, n: int) -> list[Row]:
    """Make rows of a table that is split by a key: its text, two features and a price."""
    values = rng.normal(size=(n, 2)).round(3)
    price = (values @ [3.0, -1.0] + rng.normal(size=n)).round(3)
    return [[f"h{i:04}", *row, y] for i, (row, y) in enumerate(zip(values, price, strict=True))]


KEYED = ["id", "size", "age", "price"]


def sides(seed: int = 42) -> tuple[set[tuple[float, ...]], set[tuple[float, ...]]]:
    """Load the files, and return the rows of both tables."""
    run_load(seed)
    return tuple(  # type: ignore[return-value]
        {tuple(row) for block in table.read(folder).blocks() for row in block.tolist()}
        for folder in (TRAIN, TEST)
    )


def run_load_of(target: str) -> None:
    write_parameters(target=target)
    load.main()


def run_load(seed: int) -> None:
    write_parameters(dataset="data/raw/*.csv", key="id", seed=seed)
    load.main()


def digest(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_md5_of_seed_and_key_says_where_a_row_goes() -> None:
    rows = houses(np.random.default_rng(0), 500)
    write_csv(rows, header=KEYED)
    train, test = sides(seed=7)
    is_test = {tuple(row[1:]): digest(f"7:{row[0]}") < "33333333" for row in rows}
    assert test == {row for row, inside in is_test.items() if inside}
    assert train == {row for row, inside in is_test.items() if not inside}
    assert 70 < len(test) < 130
    first = sorted(rows, key=lambda row: digest(f"7:{row[0]}"))
    assert table.read(TEST).sample()[1].tolist() == [row[1:] for row in first[: len(test)]]


def test_a_row_keeps_its_side_when_the_table_grows() -> None:
    rows = houses(np.random.default_rng(1), 600)
    write_csv(rows[:200], header=KEYED)
    train, test = sides()
    write_csv(rows[200:], "more.csv", KEYED)
    grown = sides()
    assert train < grown[0]
    assert test < grown[1]


@pytest.mark.slow
def test_a_table_that_is_shuffled_and_cut_gives_the_same_bytes() -> None:
    rng = np.random.default_rng(2)
    rows = houses(rng, 3000)
    write_csv(rows, header=KEYED)
    made = {}
    for form in ("whole", "cut"):
        if form == "cut":
            (raw.FOLDER / "t.csv").unlink()
            for i, part in enumerate(np.array_split(rng.permutation(3000), 7)):
                write_csv([rows[j][::-1] for j in part], f"{i}.csv", KEYED[::-1])
        run(dataset="data/raw/*.csv", key="id", features=["size", "age"])
        made[form] = {
            path: path.read_bytes()
            for folder in ("models", "reports")
            for path in Path(folder).rglob("*.*")
        }
    assert made["whole"] == made["cut"]
    assert SUMS in made["cut"]


def test_several_columns_can_be_the_key() -> None:
    rows = [[i % 7, i // 7, i, i * i % 11] for i in range(100)]
    write_csv(rows, header=["street", "number", "x", "price"])
    found = read(key=["street", "number"])
    assert found.schema.features == ("x",)
    assert found.columns["street"].tolist()[:3] == ["0", "1", "2"]
    write_csv(rows[:20], "twice.csv", header=["street", "number", "x", "price"])
    with pytest.raises(InputError, match=r"2 rows have street '0', number '0' \(20 such"):
        read("data/raw/*.csv", key=["street", "number"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,x,price\n1,1,2\n,2,3\n,2,4\n",
            "row 2 below the header: id is empty, must",
        ),
        ("id,x,price\n1,1,2\n,2,3\n,2,4\n", "(2 bad rows in all)"),
        ("id,x,price\nb,1,2\na,2,3\nb,2,4\na,1,1\na,1,1\n", "3 rows have id 'a' (2 such keys"),
        ("x,price\n1,2\n", "column id missing"),
    ],
)
def test_keys_that_do_not_name_a_row_are_refused(text: str, message: str) -> None:
    (raw.FOLDER / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read(key="id")
    assert "data/raw/t.csv" in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "fine"),
    [("INTEGER", True), ("VARCHAR", True), ("UUID", True), ("DOUBLE", False), ("DATE", False)],
)
def test_a_key_is_text_or_a_whole_number(kind: str, fine: bool) -> None:
    values = {"UUID": "uuid()", "DATE": "DATE '2026-01-01' + i::INTEGER"}.get(kind, f"i::{kind}")
    write_parquet(f"SELECT {values} AS id, i AS x, i % 3 AS price FROM range(9) AS t(i)")
    if fine:
        assert read("data/raw/t.parquet", key="id").schema.features == ("x",)
    else:
        with pytest.raises(InputError, match=f"id must be text or whole .* type is {kind}"):
            read("data/raw/t.parquet", key="id")


def test_an_empty_key_of_any_type_is_named() -> None:
    write_parquet(
        "SELECT CASE WHEN i < 7 THEN uuid() END AS id, i AS x, i % 3 AS price FROM range(9) AS t(i)"
    )
    with pytest.raises(InputError, match=r"row 8: id is empty, must name the row \(2 bad rows"):
        read("data/raw/t.parquet", key="id")


def test_the_same_key_as_text_and_as_a_number_goes_the_same_way() -> None:
    write_csv([[i, i, i % 3] for i in range(99)], header=["id", "x", "price"])
    write_parquet(f"SELECT id::INTEGER AS id, x, price FROM '{raw.FOLDER}/t.csv'")
    both = []
    for name in ("t.csv", "t.parquet"):
        write_parameters(dataset=f"data/raw/{name}", key="id")
        load.main()
        both.append((table.read(TEST).sample()[1].tolist(), table.read(TRAIN).n_rows))
    assert both[0] == both[1]


def test_a_file_that_changes_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(ROWS)
    opened = raw.opened

    @contextmanager
    def opened_and_changed(path: Path, *rest: Any) -> Iterator[Any]:
        with opened(path, *rest) as it:
            yield it
        path.write_text(path.read_text() + "1,Ulm,2,3\n")

    monkeypatch.setattr(raw, "opened", opened_and_changed)
    with pytest.raises(InputError, match=r"^data/raw/t\.csv changed while it was read"):
        read()


def test_rows_without_a_target_are_dropped_and_other_gaps_filled() -> None:
    rows = [[i if i % 5 else "", i if i % 3 else ""] for i in range(60)]
    write_csv(rows, header=["x", "price"])
    write_parameters(missing="mean")
    both = train_test_split(np.arange(60), test_size=0.2, random_state=42)
    n_train, n_test = (int((part % 3 > 0).sum()) for part in both)
    assert load.main() == f"{n_train} training rows and {n_test} test rows, 2 features"
