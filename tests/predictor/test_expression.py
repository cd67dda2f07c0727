"""The statement of every dialect, and the doubles that real engines make of it."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pytest
import sqlglot
from msgspec.structs import replace
from sqlglot import exp

from stages.columns.sql import DIALECTS, identifier
from stages.predictor import document
from stages.predictor.expression import select
from stages.project.cli import InputError
from stages.project.files import PREDICTOR
from stages.regression.linear import Floats, LinearModel
from stages.tables import spark
from tests.conftest import modelled

NAMES = ('é "q", x + y - z', "a `b` [c]", "back\\slash 'd'", "select", "Größe 日本", "{}%s;--")
COMMITTED = document.load(PREDICTOR)
MODEL = modelled(np.random.default_rng(0), 8, 8, names=(*NAMES, "a", "b"))
# columns of a user's table, and the doubles that they hold
COLUMNS: Mapping[str, Callable[[Floats], Floats]] = {
    "DOUBLE PRECISION": lambda X: X,
    "REAL": lambda X: X.astype(np.float32).astype(np.float64),
    "DECIMAL(12, 3)": lambda X: X.round(3),
    "INTEGER": np.round,
}


def rows(kind: str) -> Floats:
    """Return 1,000 rows in the training range, as a column of type `kind` holds them."""
    low, high = np.array([(feature.min, feature.max) for feature in MODEL.features]).T
    return COLUMNS[kind](np.random.default_rng(3).uniform(low, high, (1000, len(low))))


def predictions(X: Floats) -> list[float]:
    return list(LinearModel(np.array(MODEL.coef), MODEL.intercept.value).predict(X).tolist())


def table(kind: str) -> str:
    columns = (f"{identifier(feature.name)} {kind} NOT NULL" for feature in MODEL.features)
    return f"CREATE TABLE houses (id INTEGER, {', '.join(columns)})"


def as_csv(X: Floats) -> str:
    cells = ([str(i), *map(repr, row)] for i, row in enumerate(X.tolist()))
    return "".join(",".join(cell.removesuffix(".0") for cell in row) + "\n" for row in cells)


def by_id(text: str) -> list[float]:
    """Return the last column of CSV without a header, in the order of the first."""
    lines = [line.split(",") for line in text.splitlines()]
    return [float(line[-1]) for line in sorted(lines, key=lambda line: int(line[0]))]


# the text


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_a_statement_parses_in_its_dialect_and_keeps_names(dialect: str) -> None:
    text = select(MODEL, "a.houses", dialect)
    statement = sqlglot.parse_one(text, read=dialect)
    columns = [column for column in statement.find_all(exp.Column) if column.name != "*"]
    assert sorted(column.name for column in columns) == sorted(
        feature.name for feature in MODEL.features
    )
    assert {column.table for column in columns} == {"t"}
    assert len(text.splitlines()) == len(MODEL.features) + 3
    assert text.endswith("\nFROM a.houses AS t")


@pytest.mark.parametrize(
    ("dialect", "line"),
    [
        ("duckdb", 't."MedInc" / 256e0'),
        ("spark", "t.`MedInc` / 256e0"),
        ("postgres", 't."MedInc"::float8 / 256e0'),
    ],
)
def test_one_term_a_line(dialect: str, line: str) -> None:
    feature = replace(MODEL.features[0], column="MedInc", code=185, exponent=8)
    model = replace(MODEL, bits=8, intercept=document.Intercept(-151591, 12), features=(feature,))
    cast = "::float8" if dialect == "postgres" else ""
    assert select(model, "houses", dialect) == (
        f"SELECT t.*,\n    -151591e0{cast} / 4096e0\n    + 115e0 * ({line}) AS prediction\n"
        "FROM houses AS t"
    )


def test_an_unknown_dialect_names_those_allowed() -> None:
    with pytest.raises(InputError, match=r"bigquery, clickhouse, .*, sqlite, got 'ansi'"):
        select(MODEL, "houses", "ansi")


def test_sqlglot_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    assert select(MODEL, "houses")
    with pytest.raises(InputError, match="`pip install -r requirements/sql"):
        select(MODEL, "houses", "sqlite")


def test_the_command() -> None:
    def predict(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stages.predict", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert predict("--sql", "h", "--dialect", "spark").stdout == (
        select(COMMITTED, "h", "spark") + "\n"
    )
    refused = predict("--sql", "h", "--dialect", "ansi")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)


def test_sqlglot_is_not_imported_at_the_start() -> None:
    code = "import sys, stages.predict; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# what engines make of it, bit by bit


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "REAL")) for kind in COLUMNS]
)
@pytest.mark.parametrize("dialect", ["duckdb", "sqlite"])
def test_duckdb_and_sqlite_give_numpys_doubles(dialect: str, kind: str) -> None:
    X = rows(kind)
    connection = sqlite3.connect(":memory:") if dialect == "sqlite" else duckdb.connect()
    connection.execute(table(kind))
    values = [(i, *row) for i, row in enumerate(X.tolist())]
    marks = ", ".join("?" * len(values[0]))
    connection.executemany(f"INSERT INTO houses VALUES ({marks})", values)
    result = connection.execute(select(MODEL, "houses", dialect)).fetchall()
    assert [row[-1] for row in sorted(result)] == predictions(X)


@pytest.mark.parametrize("kind", COLUMNS)
def test_spark_gives_numpys_doubles(
    kind: str, tmp_path: Path, sail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, path = rows(kind), tmp_path / "houses.parquet"
    with duckdb.connect() as connection:
        connection.execute(table(kind))
        columns = (np.arange(len(X)), *X.T)
        connection.register("new", {f"c{j}": column for j, column in enumerate(columns)})
        connection.execute("INSERT INTO houses FROM new")
        connection.execute(f"COPY houses TO '{path}' (FORMAT parquet)")
    monkeypatch.setenv("SPARK_REMOTE", sail)
    result = spark.connect("houses").rows(select(MODEL, f"parquet.`{path}`", "spark"))
    assert [row[-1] for row in sorted(result)] == predictions(X)


# the engines to which 115e0 is a decimal
@pytest.mark.slow
@pytest.mark.parametrize("dialect", [dialect for dialect, it in DIALECTS.items() if it.cast])
@pytest.mark.parametrize("kind", COLUMNS)
def test_postgres_gives_numpys_doubles(psql: Callable[[str], str], kind: str, dialect: str) -> None:
    X = rows(kind)
    create = f"DROP TABLE IF EXISTS houses;\n{table(kind)};\nCOPY houses FROM STDIN (FORMAT csv);\n"
    text = psql(f"{create}{as_csv(X)}\\.\n{select(MODEL, 'houses', dialect)};\n")
    assert by_id(text) == predictions(X)


@pytest.mark.slow
@pytest.mark.parametrize("kind", COLUMNS)
def test_clickhouse_gives_numpys_doubles(kind: str, tmp_path: Path) -> None:
    chdb = pytest.importorskip("chdb.session", reason="chdb, of 530 MB, is not installed")
    X = rows(kind)
    with chdb.Session(str(tmp_path)) as session:
        session.query("SET precise_float_parsing = 1")
        session.query(table(kind).replace("\\", "\\\\") + " ENGINE = Memory")
        session.query(f"INSERT INTO houses FORMAT CSV\n{as_csv(X)}")
        text = str(session.query(select(MODEL, "houses", "clickhouse"), "CSV"))
    assert by_id(text) == predictions(X)
