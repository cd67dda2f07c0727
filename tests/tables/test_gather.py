"""Tables of one's own: how files become one typed relation, and what is refused."""

import gzip
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from stages.columns import engine, source
from stages.columns.inputs import Schema
from stages.project import params
from stages.project.cli import InputError
from stages.tables import gather
from stages.tables.datasets import diabetes
from stages.tables.encoding import encode
from tests.conftest import rows_of, schema_of, write_csv, write_parameters, write_parquet

ROWS = [[1.5, "Rome", 3, 7.25], [2.5, "Oslo", 4, -1e3], [0.5, "Rio", 5, 0]]
HEADER = ["size", "city", "price", "age"]

pytestmark = pytest.mark.usefixtures("own_folder")


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


def read(name: str = "data/raw/t.csv", target: str | None = "price", **wanted: Any) -> Gathered:
    write_parameters(dataset=name, target=target, **wanted)
    config = params.read().load
    Path("scratch").mkdir(exist_ok=True)
    with engine.connect(name) as here:
        found = gather.gather(config, Path("scratch"), here)
        columns = here.connection.execute(found.rows.select(["*"])).fetchnumpy()
        encoding = encode(found, found.rows, config)
    assert found.n_rows == len(columns[found.target])
    return Gathered(encoding.schema, columns, encoding.left_out)


@pytest.mark.parametrize("form", ["csv", "semicolons", "csv.gz", "parquet", "two files"])
def test_a_file_is_the_same_table_in_every_form(form: str) -> None:
    whole = diabetes.load()
    header = [*whole]
    rows = rows_of(whole).block.tolist()
    path = gather.FOLDER / f"t.{form}"
    match form:
        case "csv":
            write_csv(rows, header)
        case "semicolons":
            path = gather.FOLDER / "t.csv"
            write_csv(rows, header, delimiter=";")
        case "csv.gz":
            write_csv(rows, header)
            path.write_bytes(gzip.compress((gather.FOLDER / "t.csv").read_bytes()))
        case "parquet":
            write_csv(rows, header)
            write_parquet(f"FROM '{gather.FOLDER}/t.csv'")
        case "two files":
            path = gather.FOLDER / "*.csv"
            write_csv(rows[:100], header, "a.csv")
            write_csv([row[::-1] for row in rows[100:]], header[::-1], "b.csv")
    found = read(name := path.as_posix(), target=header[-1])
    assert found.X.tobytes() == rows_of(whole).X.tobytes()
    assert found.y.tolist() == rows_of(whole).y.tolist()
    assert found.schema == schema_of(name, header[-1], tuple(header[:-1]))


TEXT = "size,city,price\n1.5,Rome,3\n2.5,Oslo,4\n0.5,Łódź,5\n"
LOOSE = [  # the same table, as people have it
    "\n  \n" + TEXT,
    "\ufeff\n" + TEXT,
    "\ufeff\ufeff" + TEXT,
    '\ufeff\ufeff"size",\ufeffcity,price' + TEXT[15:],
    TEXT.replace("size,city,price", " size,city , price\xa0"),
    TEXT.replace("\n", "\n\n"),
    TEXT.replace("\n", "\r\n", 2),
    TEXT.replace("\n", "\r", 2),
    TEXT.replace("\n", "\r", 1).replace("\n", "\r\n", 1),
    TEXT.replace(",", ";").replace("\n", "\r\n", 3),
    TEXT.replace("\n", ",\n"),
    TEXT.partition("\n")[0] + TEXT[15:].replace("\n", ",\n"),
    ",,\n" + TEXT,
]
ENCODE: list[Callable[[str], bytes]] = [
    str.encode,
    lambda text: text.encode("utf-16"),
    lambda text: ("\ufeff" + text).encode("utf-16-be"),
    lambda text: gzip.compress(text.encode("utf-16")),
]


def test_a_file_as_people_have_it_is_the_same_table() -> None:
    path, kinds = gather.FOLDER / "t.csv", dict.fromkeys(("city", "price"))
    rows = [("1.5", "Rome", "3"), ("2.5", "Oslo", "4"), ("0.5", "Łódź", "5")]
    with engine.connect("t") as here:
        for text, encode in product(LOOSE, ENCODE):
            path.write_bytes(encode(text))
            found = source.detect(path, "t", kinds, here, folder=gather.FOLDER)
            columns = ", ".join(map(found.column, ("size", "city", "price")))
            got = here.rows(f"SELECT {columns} FROM {found.relation}")
            assert (got, {*found.unnamed}) == (rows, {*found.columns[3:]}), (text, encode(text))


def test_quoted_line_breaks_stay_in_a_file_of_mixed_line_ends() -> None:
    text = 'a,b,price\r\n"x\ny",1,2\r"u\r\nv ""w""; ",2,3\n" \r",5,7\n'
    (gather.FOLDER / "t.csv").write_bytes(text.encode())
    assert read().columns["a"].tolist() == ["x\ny", 'u\r\nv "w"; ', " \r"]


def test_a_column_without_a_name_is_called_by_its_place() -> None:
    rows = [[f"r{i}", i, i * i, 5 - i, ""] for i in range(4)]
    write_csv(rows, ["", "a", "price", " ", ""])
    found = read()
    assert found.schema.features == ("a",)
    assert found.left_out == dict.fromkeys(["column 1", "column 4", "column 5"], "it has no name")
    assert read(features=["column 4"]).schema.features == ("column 4",)
    assert read(target="column 4").y.tolist() == [5, 4, 3, 2]
    write_csv(rows, ["column 1", "column 2", "price", "column 4", "column 5"])
    assert read(levels=2).schema.features == ("column 2", "column 4")
    write_csv(rows, ["column 4", "a", "price", "", "b"])
    with pytest.raises(InputError, match="called column 4: columns 1 and 4"):
        read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4\x14\0[Content_Types].xml", "a spreadsheet or a zip: export the sheet as CSV"),
        (b"PK\3\4\x14\0t.csv", "or unpack the file"),
        (b'{"price": 1, "a": 2}\n', "price missing; .* is it JSON"),
        (b'[\n  {"price": 1, "a": 2}\n]\n', "price missing; .* is it JSON"),
        ("a,Preis in €,price\n1,2,3\n".encode("cp1252"), "header is not UTF-8; .* `iconv -f WIND"),
        ("a,price\n1,2\né,3\n".encode("cp1252"), "Line: 3.*not utf-8.* `iconv -f WINDOWS-1252"),
        ("a,price\r\n1,2\né,3\n".encode("cp1252"), "Line: 3.*not utf-8.* `iconv -f WINDOWS"),
        ("a,price\n1,2\n".encode("utf-16")[:-1], "line 2 .* is damaged: .* truncated data"),
        ("a,price\n1,2\n".encode("utf-16")[2:], "neither CSV in UTF-8 or UTF-16 nor Parquet"),
        (b'a,price\r\n1,2\n"3,4\n5,6\n', "line 3 has a quote that does not end"),
        (b"\n \r\n", "is empty"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(content: bytes, message: str) -> None:
    (gather.FOLDER / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=f"^data/raw/t.csv.*{message}"):
        read()


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


@pytest.mark.parametrize("cut", [None, 1500])
def test_a_text_keeps_how_it_is_written_where_files_begin_with_numbers(cut: int | None) -> None:
    codes = ["007", "7", "1e1", "10"] * 400 + ["x"] * 1700
    rows = [[code, i] for i, code in enumerate(codes)]
    write_csv(rows[:cut], ["code", "price"], "a.csv")
    write_csv(rows[cut or len(rows) :], ["code", "price"], "b.csv")
    assert read("data/raw/*.csv").columns["code"].tolist() == codes


@pytest.mark.slow
def test_more_columns_than_a_model_can_have_are_refused_in_one_line() -> None:
    names = [f"x{j}" for j in range(3000)]
    write_csv([[i * j % 7 for j in range(3001)] for i in range(50)], [*names, "price"])
    with pytest.raises(InputError, match="3,000 columns to predict from, at most 1,000 are"):
        read()
    assert read(features=names[-2:]).schema.features == ("x2998", "x2999")
    write_csv([[f"a{i}", f"b{i}", i] for i in range(800)], ["a", "b", "price"])
    with pytest.raises(InputError, match=r"would become 1,598 features, a 799, b 799, and at most"):
        read(levels=800)


@pytest.mark.parametrize(
    "value",
    [
        "TIMESTAMP_NS '2020-01-01 00:00:00.5'",
        "CASE WHEN i = 1 THEN 'infinity'::DATE ELSE '2020-01-01' END",
        "CASE WHEN i = 1 THEN 'infinity'::TIMESTAMPTZ ELSE '2020-01-01' END",
        "CASE WHEN i = 1 THEN '12000-01-01'::DATE ELSE '2020-01-01' END",
    ],
)
def test_dates_of_parquet_are_years_that_can_be_written(value: str) -> None:
    write_parquet(f"SELECT {value} AS day, i AS price FROM range(3) AS t(i)")
    if "CASE" in value:
        with pytest.raises(InputError, match=r"row 2: day is .*, must be a date"):
            read("data/raw/t.parquet")
    else:
        assert read("data/raw/t.parquet").schema.kinds == {"day": "date"}


def test_nan_is_a_gap_also_where_parquet_tells_a_range_without_it() -> None:
    columns = {"x": [1.0, np.nan, 3.0], "price": [1.0, 2.0, 3.0]}
    pyarrow.parquet.write_table(pyarrow.table(columns), gather.FOLDER / "t.parquet")
    with pytest.raises(InputError, match="1 of 3 rows have a gap, x in 1"):
        read("data/raw/t.parquet")


def test_the_index_of_pandas_is_no_feature() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3], "price": [1, 2, 4]}).query("x > 1")
    frame.to_parquet(gather.FOLDER / "t.parquet")
    assert read("data/raw/t.parquet").schema.features == ("x",)


def write_select(text: str) -> None:
    (gather.FOLDER / "t.sql").write_text(text, encoding="utf-8")


def test_duckdb_runs_a_select_where_there_is_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv([[i, i * i % 7] for i in range(3000)], ["id", "price"])
    write_parquet("SELECT 'h' || i AS house, i AS id, i % 5 AS rooms FROM range(9000) AS t(i)")
    write_select(
        "SELECT house, rooms, CAST(price AS DOUBLE) AS price -- a join\n"
        "FROM 'data/raw/t.csv' JOIN 'data/raw/t.parquet' USING (id) WHERE rooms > 1;\n"
    )
    found = read("data/raw/t.sql", key="house")
    assert capsys.readouterr().err == ""
    assert found.schema == schema_of("data/raw/t.sql", "price", ("rooms",))
    numbers = [i for i in range(3000) if i % 5 > 1]
    assert found.columns["house"].tolist() == sorted(f"h{i}" for i in numbers)
    assert sorted(found.y.tolist()) == sorted(i * i % 7 for i in numbers)


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("SELECT 1 AS id, 2 AS x, 3 AS price", {}, "load.key must name its rows, as they have no"),
        ("SELECT 1 AS i, 2 AS x, 3 AS price", {"key": "id"}, "column id missing; found i, x, pri"),
        ("SELECT 'a' AS id, 'inf'::DOUBLE AS x, 3 AS price", {"key": "id"}, "id 'a': x is inf, mu"),
        (
            "SELECT 1.5 AS id, 2 AS x, 3 AS price",
            {"key": "id"},
            "id is 1.5, must be text or whole num",
        ),
        ("SELECT 1 AS id; SELECT 2", {"key": "id"}, "must be one SELECT"),
        ("DROP TABLE t", {"key": "id"}, "must be one SELECT"),
        ("SELECT * FROM 'data/raw/none.csv'", {"key": "id"}, "none.csv"),
    ],
)
def test_a_select_that_cannot_be_used_is_refused_in_one_line(
    text: str, wanted: dict[str, Any], message: str
) -> None:
    write_select(text)
    with pytest.raises(InputError, match=message) as raised:
        read("data/raw/t.sql", **wanted)
    assert str(raised.value).startswith("data/raw/t.sql")
    assert "\n" not in str(raised.value)


def test_columns_that_cannot_be_inputs_are_left_out_each_with_its_reason() -> None:
    rows = [[i, *row, ""] for i, row in enumerate(ROWS)]
    write_csv(rows, header=["", *HEADER, "note"])
    found = read(levels=2)
    assert found.schema.features == ("size", "age")
    assert found.left_out == {
        "column 1": "it has no name",
        "city": "text of 3 levels, load.levels is 2",
        "note": "it has no values",
    }


def test_features_and_target_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(ROWS, HEADER)
    found = read(features=["age"], target="size")
    assert found.schema == schema_of("data/raw/t.csv", "size", ("age",))
    assert found.X.tolist() == [[7.25], [-1000.0], [0.0]]
    assert capsys.readouterr().err == ""


NUMBER = "must be a finite number, 0 or 1e-100 to 1e+100 in size"


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("a,price\n1,2\n", {"target": None}, "load.target must name the column of"),
        ("a,price\n1,2\n", {"target": None}, "to predict, one of a, price"),
        (
            "a,prediction\n1,2\n",
            {"target": "prediction"},
            "adds a column called prediction: rename",
        ),
        ("a,price\n1,2\n", {"target": "cost"}, "column cost missing; found a, price"),
        ("a,price\n1,\n2,\n", {}, "price cannot be load.target: it has no values"),
        ("a,price\n1,2\n", {"features": ["price"]}, "in more than case, got price, price"),
        ("price\n1\n", {}, "no column but price can be an input"),
        ("a,price\nx,2\n", {}, "no column but price can be an input"),
        (
            "a,b,price\n1,1,2\nn/a,1,3\n,2,4\n8,?,x\n5,6,7\n",
            {},
            f"row 2 below the header: a is 'n/a', {NUMBER} (1 bad value in all); list gaps in"
            " load.na, or a column of texts in load.categories, or leave the column out of"
            f" load.features. data/raw/t.csv: row 4 below the header: b is '?', {NUMBER} (1 bad",
        ),
        ("a,price\n1,x\n", {}, f"row 1 below the header: price is 'x', {NUMBER} (1 bad value in"),
        ("a,price\n1,2\nnan,3\n", {}, "1 of 2 rows have a gap, a in 1"),
        (
            "a,b,price\n1,,2\n,,3\n4,5,6\n7,8,\n",
            {},
            "3 of 4 rows have a gap, a in 1, b in 2, price in 1; load.missing: drop leaves these",
        ),
        ("a,price\n1,2\n-inf,3\n", {}, f"a is -inf, {NUMBER}"),
        ("a,price\n1,2\n1e101,3\n", {}, f"a is 1e+101, {NUMBER}"),
        ("a,price\n1,2\n1e-101,3\n", {}, f"a is 1e-101, {NUMBER}"),
        # 12 is a text in a column of texts
        ("b,price\n12,1\nx,2\ny,?\n", {}, f"row 3 below the header: price is '?', {NUMBER} (1 bad"),
        # a column's name is no name of DuckDB's for something else
        ("rowid,b,price\n3,5,2\n0,q,4\n3,7,2\n", {}, f"row 2 below the header: b is 'q', {NUMBER}"),
        ("a,price\n", {}, "has no rows"),
        ('"a\nb",price\n1,2\n', {}, "'a\\nb' cannot be the name of a column"),
        ('{"price": 1, "a": 2}\n', {}, "column price missing"),
        ("a,price\n1,2\n3\n", {}, "Expected Number of Columns: 2"),
        ("a,a,price\n1,2,3\n", {}, "more than one column is called a: columns 1 and 2"),
        ("a,A,price\n1,2,3\n", {}, "must be different columns, in more than case, got a, A"),
        ("Ä,ä,price\n1,2,3\n", {}, "in more than case, got Ä, ä"),
        ("", {}, "is empty"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    text: str, wanted: dict[str, Any], message: str
) -> None:
    (gather.FOLDER / "t.csv").write_bytes(text.encode())
    with pytest.raises(InputError) as raised:
        read(**wanted)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert wanted.get("features") == ["price"] or "data/raw/t.csv" in str(raised.value)


def test_the_file_and_the_row_in_it_are_named() -> None:
    write_csv(ROWS, HEADER, "a.csv")
    write_csv([*ROWS, ["x", "Bern", 1, 2]], HEADER, "b.csv")
    write_csv(ROWS, HEADER, "c.csv")
    with pytest.raises(InputError, match=r"^data/raw/b.csv: row 4 below the header: size is 'x'"):
        read("data/raw/*.csv")
    write_csv(ROWS, ["size", "city", "cost", "age"], "b.csv")
    with pytest.raises(InputError, match=r"^data/raw/b.csv: column price missing"):
        read("data/raw/?.csv")


@pytest.mark.parametrize(
    "name", ["iris", "t.csv", "/etc/passwd", "data/raw/../../t.csv", "data/raw"]
)
def test_only_files_that_dvc_sees_are_read(name: str) -> None:
    Path("t.csv").touch()
    with pytest.raises(
        InputError, match=r"must be ([a-z_]+, )*diabetes(, [a-z_]+)* or files below"
    ):
        read(name)


@pytest.mark.parametrize("name", ["data/raw/*", "data/raw/**.csv", "data/raw/t.parquet"])
def test_a_file_that_is_missing_is_named(name: str) -> None:
    for file in (".gitignore", "t.csv.dvc"):  # are of git and DVC
        (gather.FOLDER / file).touch()
    with pytest.raises(InputError, match=re.escape(name)):
        read(name)


def test_a_file_that_git_does_not_know_is_missing_in_an_experiment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / ".dvc/tmp/exps/standalone/tmp1"  # where DVC runs those of a queue
    for where, hinted in ((tmp_path, False), (folder, True)):
        where.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(where)
        with pytest.raises(InputError, match="no file matches") as found:
            gather.find("data/raw/t.csv")
        assert ("`git add` it or its .dvc file" in str(found.value)) is hinted


def test_a_column_may_be_called_like_one_of_ours() -> None:
    names = ["file_row_number", "place", "places", "c1", "n_c0", "rowid"]
    write_csv([[i + j * j for j in range(6)] + [i % 3] for i in range(9)], header=[*names, "price"])
    assert read().schema.features == tuple(names)
    write_csv([[i] * 6 + ["x" if i == 4 else 1] for i in range(9)], header=[*names, "price"])
    with pytest.raises(InputError, match="row 5 below the header: price is 'x'"):
        read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1 AS id) AS t; COPY (SELECT 42) TO 'evil.csv'; SELECT * FROM (SELECT 2", "syntax"),
        ("SELECT 1 AS id, 2 AS price; SELECT 3", "must be one SELECT"),
        ("COPY (SELECT 42) TO 'evil.csv'", "must be one SELECT"),
        ("SELECT 1 AS id, 2 AS x, 3 AS x, 4 AS price", "more than one column is called x"),
    ],
)
def test_a_select_is_one_and_writes_nothing(text: str, message: str) -> None:
    (gather.FOLDER / "q.sql").write_text(text)
    with pytest.raises(InputError, match=message):
        read("data/raw/q.sql", key="id")
    assert not Path("evil.csv").exists()


@pytest.mark.parametrize("second", ["'$' || i", "DATE '2020-01-01'", "i > 3"])
def test_files_must_agree_on_the_type_of_a_column(second: str) -> None:
    write_parquet("SELECT i AS x, i * i AS price FROM range(9) AS t(i)", "a.parquet")
    write_parquet(f"SELECT {second} AS x, i * i AS price FROM range(9) AS t(i)", "b.parquet")
    with pytest.raises(InputError, match=r"x is BIGINT, and in data/raw/b.parquet .* must agree"):
        read("data/raw/*.parquet")
    write_csv([[1, 2]], ["x", "price"], "c.csv")
    with pytest.raises(InputError, match=r"matches CSV and Parquet, must be of one format"):
        read("data/raw/*")


def test_a_problem_beside_another_reading_is_told() -> None:
    write_csv(
        [["1/1/2019", "$0", 0], ["2/2/2019", "$1", 4], ["1/2/2019", "$2", 9]], ["d", "x", "price"]
    )
    with pytest.raises(InputError, match="d has dates whose day or month may come first"):
        read()
    write_csv([["", "0,5", 0], [1, "1,5", 2], [2, "2,5", 5]], ["k", "x", "price"])
    with pytest.raises(InputError, match="row 1 below the header: k is empty, must be text or"):
        read(key="k")
