"""The statement of every dialect. `test_same_bits` has the doubles that real engines make of it."""

import sys
from collections.abc import Callable

import pytest
import sqlglot
from msgspec.structs import replace
from sqlglot import exp

from stages import predict
from stages.columns.inputs import Input
from stages.columns.sql import DIALECTS
from stages.predictor import c, document
from stages.predictor.document import Intercept, Predictor
from stages.predictor.expression import select
from stages.project.cli import InputError
from stages.project.files import PREDICTOR
from tests.conftest import EXAMPLE, feature, make_model

NAMES = ('é "q", x + y - z', "a `b` [c]", "back\\slash 'd'", "select", "Größe 日本", "{}%s;--")

FOLDED = {"postgres": "lower", "snowflake": "upper"}  # names that were created without quotes


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_a_statement_parses_in_its_dialect_and_keeps_names(dialect: str) -> None:
    text = select(make_model(8, map(Input, NAMES)), "a.houses", dialect)
    statement = sqlglot.parse_one(text, read=dialect)
    columns = [column for column in statement.find_all(exp.Column) if column.name != "*"]
    assert {(column.table, column.name) for column in columns} == {("t", name) for name in NAMES}
    assert len(text.splitlines()) == len(NAMES) + 3 + (dialect in FOLDED)
    assert text.startswith("/* ") is (dialect in FOLDED)
    assert text.endswith("\nFROM a.houses AS t")


@pytest.mark.parametrize(("dialect", "cast"), [("duckdb", ""), ("postgres", "::float8")])
def test_one_term_a_line(dialect: str, cast: str) -> None:
    features = (feature(Input("Income"), 0.0, 1.0, 185, 8),)
    model = replace(EXAMPLE, bits=8, intercept=Intercept(-151591, 12), features=features)
    note, _, text = select(model, "houses", dialect).rpartition("*/\n")
    assert FOLDED.get(dialect, "") in note
    assert text == (
        f'SELECT t.*,\n    -151591e0{cast} / 4096e0\n    + 115e0 * (t."Income"{cast} / 256e0)'
        " AS prediction\nFROM houses AS t"
    )


def test_a_dialect_that_is_unknown_or_needs_sqlglot_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match=r"bigquery, clickhouse, .*, sqlite, got 'ansi'"):
        select(EXAMPLE, "houses", "ansi")
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    assert select(EXAMPLE, "houses")
    with pytest.raises(InputError, match="`pip install -r requirements/sql"):
        select(EXAMPLE, "houses", "sqlite")


@pytest.mark.parametrize(
    ("options", "write"),
    [
        ("--sql h --dialect spark", lambda model: select(model, "h", "spark")),
        ("--c", c.header),
        ("--c --name Light", lambda model: c.header(model, "light")),
    ],
)
def test_predict_prints_it(
    options: str,
    write: Callable[[Predictor], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["predict", *options.split()])
    predict.main()
    assert capsys.readouterr().out == write(document.load(PREDICTOR)) + "\n"
