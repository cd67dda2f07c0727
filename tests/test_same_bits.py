"""Every form of a model gives the same doubles: those of its definition, rounded step by step."""

import csv
import json
import math
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from msgspec.structs import replace

from stages import report
from stages.columns.inputs import Input
from stages.columns.sql import DIALECTS, identifier
from stages.columns.terms import parse_term
from stages.predictor.document import Predictor
from stages.predictor.expression import select
from stages.predictor.rows import Scorer
from stages.project import files
from stages.project.cli import InputError
from stages.project.files import PREDICTOR, SCORES
from stages.regression.linear import LinearModel
from stages.tables import spark
from tests import cars
from tests.browser import browser
from tests.conftest import coefficients_of, csv_of, make_checkout, make_model, run_c, succeed

# which no form may take for syntax, nor C for the end of a comment
NAMES = ('é "q", x + y - z', "a `b` [c]", "back\\slash 'd'", "select", "日本 */ /* \\", "{}%s;--")


# the models, and rows for them


@dataclass
class Case:
    """A model, the types of its columns, and rows of values, None for a gap."""

    model: Predictor
    types: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @cached_property
    def columns(self) -> list[str]:
        return [*self.model.schema.kinds]

    @cached_property
    def texts(self) -> list[list[Any]]:
        """The rows with dates as texts, as JSON and most engines take them."""
        return [[str(it) if isinstance(it, date) else it for it in row] for row in self.rows]

    @cached_property
    def X(self) -> np.ndarray:  # noqa: N802
        """The inputs, as their definition has them; NaN where there is none."""
        rows = (dict(zip(self.columns, row, strict=True)) for row in self.rows)
        inputs = self.model.features
        return np.array([[number(each, row) for each in inputs] for row in rows])

    @cached_property
    def factors(self) -> np.ndarray:
        """The inputs, and in place of products and ratios their factors."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        inputs = [it for each in self.model.features for it in each.factors or [each]]
        return np.array([[number(each, row) for each in inputs] for row in rows])

    @cached_property
    def expected(self) -> list[float]:
        intercept = self.model.intercept
        exact = Fraction(intercept.number) / Fraction(2) ** intercept.exponent
        return predict_exactly(self.model.coef, exact, self.X)


def number(each: Input, row: Mapping[str, Any]) -> float:
    gap = math.nan if each.fill is None else each.fill
    if each.factors:
        y = Fraction(1)
        for operator, factor in zip(each.operators, each.factors, strict=True):
            x = number(factor, row)
            if math.isnan(x) or (x != 0 and not 1e-25 <= abs(x) <= 1e25):
                return gap
            if x == 0 and operator == "/":
                return gap
            y = Fraction(float(y * Fraction(x) if operator == "*" else y / Fraction(x)))
        return float(y)
    value = row[each.column]
    if each.missing:
        return float(value is None)
    if value is None:
        return gap
    return cars.number(value) if each.level is None else float(value == each.level)


def predict_exactly(coef: Sequence[float], intercept: Fraction, X: np.ndarray) -> list[float]:
    """Add weight · input from left to right: each product is rounded once, and each sum."""
    found = []
    for row in X.tolist():
        y = math.nan if any(map(math.isnan, row)) else float(intercept)
        for weight, x in zip(coef, () if math.isnan(y) else row, strict=False):
            y = float(Fraction(y) + Fraction(float(Fraction(weight) * Fraction(x))))
        found.append(y)
    return found


def make_numbers(bits: int, spread: int) -> Case:
    """Make two columns of each type, with numbers of all sizes, and a row of zeros."""
    rng = np.random.default_rng(bits)
    doubles = rng.normal(size=(300, 2)) * 2.0 ** rng.integers(-60, 60, (300, 2))
    columns = {
        "DOUBLE PRECISION": doubles,
        "REAL": doubles.astype(np.float32),
        "DECIMAL(12, 3)": rng.uniform(-1e6, 1e6, (300, 2)).round(3),
        "INTEGER": rng.integers(-(10**6), 10**6, (300, 2)),
    }
    values = [column for pair in columns.values() for column in pair.T.tolist()]
    rows = [[0] * len(values), *zip(*values, strict=True)]
    model = make_model(bits, map(Input, (*NAMES, "a", "b")), spread)
    return Case(model, [kind for kind in columns for _ in range(2)], rows)


def make_cars(missing: str) -> Case:
    """Make inputs of every kind, with gaps that are filled or allow no prediction."""
    levels, inputs = {"brand": (*cars.BRANDS,), "fuel": (*cars.FUELS,)}, []
    for name, kind in cars.KINDS.items():
        fill = None if missing == "drop" else 0.0 if name in levels else 123.457
        inputs += [Input(name, kind, level, fill=fill) for level in levels.get(name, (0, None))[1:]]
        inputs += [Input(name, kind, missing=True)] if missing == "mean" else []
    rows = [row[1:7] for row in cars.cars(300, gaps=0.05)]
    return Case(make_model(8, inputs, missing=missing, levels=levels), cars.TYPES, rows)


SPECIAL = (0.0, 0.0, None, 1e25, -1e25, 1.0000000000000002e25, 1e-25, 9e-26, 1e200, -1e-200, 1e16)
FIELDS: dict[
    str, tuple[str, Callable[[Any], Any]]
] = {  # the types of columns of products and ratios, and values besides gaps
    'a " / b': ("DOUBLE PRECISION", lambda rng: float(rng.normal())),
    "b": ("DOUBLE PRECISION", lambda rng: float(rng.normal())),
    "r": ("REAL", lambda rng: float(np.float32(rng.normal()))),
    "d": ("DECIMAL(12, 3)", lambda rng: round(float(rng.uniform(-1e6, 1e6)), 3)),
    "k": ("INTEGER", lambda rng: int(rng.integers(-1, 40))),
    "new": ("BOOLEAN", lambda rng: bool(rng.random() < 0.8)),
    "seen": ("TIMESTAMP WITH TIME ZONE", lambda rng: cars.cars(1, int(rng.integers(99)))[0][5]),
    "city": ("TEXT", lambda rng: str(rng.choice(["Rome", "x * y", "it's", "unseen"]))),
}
TERMS = (
    '"a "" / b" / b',
    "b * b * b * b",
    'r / "a "" / b" / k * d',
    "d / k",
    "k / d * k",
    "r * r",
    "seen / b",
    "seen * r / k",
    "b * city = Rome",
    'city = "x * y" * r',
    "r / new",
    "new * d",
)


def make_product(term: str, fill: float | None) -> Input:
    name, factors = parse_term(term)
    kinds = {"new": "boolean", "seen": "date", "city": "text"}
    inputs = [Input(column, kinds.get(column, "number"), level) for _, column, level in factors]
    operators = "".join(operator for operator, *_ in factors)
    return Input(name, "product", fill=fill, factors=tuple(inputs), operators=operators)


def make_products(missing: str) -> Case:
    """Make products and ratios of all kinds, of zeros, gaps, and sizes that no double holds."""
    rng, fill = np.random.default_rng(7), 0.1234567 if missing == "mean" else None
    inputs = [make_product(term, fill) for term in TERMS]
    levels = {"city": ("Rome", "it's", "x * y")}
    model, rows = make_model(8, inputs, missing=missing, levels=levels), []
    for _ in range(600):
        row = {name: make(rng) for name, (_, make) in FIELDS.items()}
        for name in FIELDS:
            if rng.random() < 0.03:
                row[name] = None
        for name in ('a " / b', "b"):
            if rng.random() < 0.05:
                row[name] = rng.choice(np.array(SPECIAL, object))
        rows.append([row[name] for name in model.schema.kinds])
    return Case(model, [FIELDS[name][0] for name in model.schema.kinds], rows)


CASES = {
    "numbers, 1 bit": partial(make_numbers, 1, 3),
    "numbers, 8 bits": partial(make_numbers, 8, 10),
    "numbers, 16 bits": partial(make_numbers, 16, 50),
    "cars, mean": partial(make_cars, "mean"),
    "cars, drop": partial(make_cars, "drop"),
    "products, fail": partial(make_products, "fail"),
    "products, drop": partial(make_products, "drop"),
    "products, mean": partial(make_products, "mean"),
}


RARE = "products, fail", "products, drop", "products, mean"


@cache
def case_of(name: str) -> Case:
    return CASES[name]()


# the forms: each takes a case, a folder and what gives it a fixture, and returns predictions

Fixture = Callable[[str], Any]


def by_numpy(case: Case, *_: Any) -> Iterable[Any]:
    return LinearModel(np.array(case.model.coef), case.model.intercept.value).predict(case.X)


def by_rows_of_json(case: Case, *_: Any) -> Iterable[Any]:
    scorer = Scorer(case.model)
    for row in case.texts:
        try:
            yield scorer.predict(dict(zip(case.columns, row, strict=True)), "row").value
        except InputError:
            yield None


def by_predict(form: str) -> Callable[..., Iterable[Any]]:
    """Return what the command makes of a file, in a time zone that must not matter."""

    def predict(case: Case, folder: Path, fixture: Fixture) -> Iterable[Any]:
        checkout = make_checkout(folder / "checkout")
        model = case.model
        rows = [[n, *map(cars.text_of, row)] for n, row in enumerate(case.rows)]
        if form == ";":  # of a file whose numbers have commas
            model = replace(model, features=tuple(map(with_comma, model.features)))
            rows = [
                [str(it).replace(".", ",") if isinstance(it, float) else it for it in row]
                for row in rows
            ]
        files.save_json(model, checkout / PREDICTOR)
        if form == "parquet":
            write_parquet(case, checkout / "table")
        else:
            text = csv_of(["n", *case.columns], *rows, delimiter=form)
            (checkout / "table").write_text(text, encoding="utf-8")
        fixture("monkeypatch").setenv("TZ", "America/New_York")
        skip = () if model.missing != "fail" else ("--on-error", "skip")
        output = succeed(sys.executable, "-m", "stages.predict", "table", *skip, cwd=checkout)
        found = {int(line[0]): line[-1] for line in csv.reader(output.splitlines()[1:])}
        return map(found.get, range(len(case.rows)))

    return predict


def with_comma(each: Any) -> Any:
    reading = "1.234,5" if each.kind == "number" else each.reading
    return replace(each, reading=reading, factors=tuple(map(with_comma, each.factors)))


def create(case: Case) -> str:
    columns = map(" ".join, zip(map(identifier, case.columns), case.types, strict=True))
    return f"CREATE TABLE given (n INTEGER, {', '.join(columns)})"


def query(case: Case, dialect: str, table: str = "given") -> str:
    return f"SELECT prediction FROM ({select(case.model, table, dialect)}) AS q ORDER BY n"


def fill(connection: Any, case: Case) -> Any:
    connection.execute(create(case))
    rows = [(n, *row) for n, row in enumerate(case.texts)]
    connection.executemany(f"INSERT INTO given VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return connection


def by_connection(dialect: str, connect: Callable[[], Any]) -> Callable[..., Iterable[Any]]:
    def predict(case: Case, *_: Any) -> Iterable[Any]:
        return [y for (y,) in fill(connect(), case).execute(query(case, dialect)).fetchall()]

    return predict


def by_postgres(case: Case, folder: Path, fixture: Fixture) -> Iterable[Any]:
    rows = csv_of(*([n, *row] for n, row in enumerate(case.texts)))
    output: str = fixture("psql")(
        f"DROP TABLE IF EXISTS given;\n{create(case)};\nCOPY given FROM STDIN (FORMAT csv);\n"
        f"{rows}\\.\n{query(case, 'postgres')};\n"
    )
    return output.splitlines()


def write_parquet(case: Case, path: Path) -> Path:
    with duckdb.connect() as connection:
        fill(connection, case).table("given").write_parquet(str(path))
    return path


def by_spark(case: Case, folder: Path, fixture: Fixture) -> Iterable[Any]:
    fixture("monkeypatch").setenv("SPARK_REMOTE", fixture("sail"))
    table = f"parquet.`{write_parquet(case, folder / 'given.parquet')}`"
    return [y for (y,) in spark.connect("given").rows(query(case, "spark", table))]


def by_clickhouse(case: Case, folder: Path, fixture: Fixture) -> Iterable[Any]:
    chdb = pytest.importorskip("chdb", reason="chdb, of 530 MB, is not installed")
    table = f"file('{write_parquet(case, folder / 'given.parquet')}', Parquet)"
    return str(chdb.query(query(case, "clickhouse", table), "CSV")).splitlines()


def by_c(*flags: str) -> Callable[..., Iterable[Any]]:
    return lambda case, folder, fixture: run_c(case.model, case.factors, folder, *flags)


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    with browser() as opened:
        yield opened


PREDICT_IN_PAGE = """
(rows) => {
  const X = rows.map((cells) => inputs(new Map(cells.map(([name, value, dated]) =>
    [name, dated ? daysOf(value) : value]))));
  return [quantized, float].map((predict) => X.map(predict));
}
"""


def by_page(case: Case, folder: Path, fixture: Fixture) -> Iterable[Any]:
    """Return what the codes predict, and hold what the float model beside them predicts."""
    tab, path, coef = fixture("tab"), folder / "model.html", [w + 0.1 for w in case.model.coef]
    scores = json.loads(SCORES.read_bytes()) | {"intercept": {"float": 0.1}, "digest": ""}
    first = dict.fromkeys((*case.columns, "actual"))
    rated, weights = coefficients_of(case.model), [(w, 0.0, 0.0, 1.0) for w in coef]
    page = report.make_page(case.model, scores, rated, weights, [first], {}, [], "")
    path.write_text(page, encoding="utf-8")
    tab.open(path)
    rows = [
        [(name, cell(it), isinstance(it, date)) for name, it in zip(case.columns, row, strict=True)]
        for row in case.rows
    ]
    quantized, floats = tab.evaluate(f"({PREDICT_IN_PAGE})({json.dumps(rows)})")
    assert to_bits(floats) == to_bits(predict_exactly(coef, Fraction(0.1), case.X))
    return list(quantized)


def cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return str(value) if isinstance(value, date) else value


def to_bits(predictions: Iterable[Any]) -> list[str]:
    """Return predictions in hexadecimal, and nan for what a form has where there is none."""
    return [float("nan" if y in (None, "", r"\N") else y).hex() for y in predictions]


FAST = {
    "numpy": by_numpy,
    "rows of JSON": by_rows_of_json,
    "predict": by_predict(","),
    "duckdb": by_connection("duckdb", duckdb.connect),
    "sqlite": by_connection("sqlite", partial(sqlite3.connect, ":memory:")),
}
SLOW = {
    "predict, decimal commas": by_predict(";"),
    "predict, Parquet": by_predict("parquet"),
    "postgres": by_postgres,
    "spark": by_spark,
    "clickhouse": by_clickhouse,
    "C with all that this CPU has": by_c("-O2", "-march=native"),
    "C": by_c("-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
    "page": by_page,
}
FORMS: dict[str, Callable[..., Iterable[Any]]] = FAST | SLOW


@pytest.mark.parametrize(
    ("form", "name"),
    [
        pytest.param(form, name, marks=[pytest.mark.slow] if form in SLOW or name in RARE else [])
        for form in FORMS
        for name in CASES
    ],
)
def test_a_form_has_the_bits_of_the_definition(
    form: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = case_of(name)
    found = FORMS[form](case, tmp_path, request.getfixturevalue)
    assert to_bits(found) == to_bits(case.expected)
    assert len({*to_bits(case.expected)}) > 200


def test_dialects_that_no_test_runs_are_known() -> None:
    assert {*DIALECTS} - {*FORMS} == {"bigquery", "snowflake"}
