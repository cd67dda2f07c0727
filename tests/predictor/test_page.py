"""The page of a model: what it says and lets in, and the bits that it predicts in a browser."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import duckdb
import html5lib
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from stages import evaluate, load, quantize, report, train
from stages.columns.inputs import Input
from stages.columns.sql import identifier
from stages.predictor import document
from stages.predictor.document import Intercept, Predictor
from stages.predictor.expression import select
from stages.predictor.page import page
from stages.project.files import PAGE, PLOTS, PREDICTOR, SCORES
from stages.regression.linear import LinearModel
from tests.browser import Browser, browser
from tests.cars import cars, checkout, write
from tests.conftest import EXAMPLE, feature, modelled

HOSTILE = "</script><img src=x onerror=alert(1)>"
PART = {"r2": 0.5, "mse": 4.0, "rmse": 2.0, "mae": 1.25, "mean": 3.0, "std": 2.5}
BOTH = {"train": PART, "test": PART | {"r2": 0.421875}}
QUANTIZATION = {
    "mse_growth_percent": 0.125,
    "prediction_difference": {"mean": 0.1, "max": 0.25, "bound": 0.5},
    "optimal": True,
}
INPUTS = (  # of every kind, with fillings for gaps
    Input("colour", "text", level="red", fill=0.0),
    Input("colour", "text", level=HOSTILE, fill=0.0),
    Input("colour", "text", missing=True),
    Input("new", "boolean", fill=0.25),
    Input("sold", "date", fill=18000.5),
    Input("sold", "date", missing=True),
    Input("seen", "date", fill=18000.0),
    Input("size", "number", fill=1e-3),
    Input("gone", "number", missing=True),
)
KINDS = Predictor(
    dataset="toy",
    target=HOSTILE,
    unit="a & b",
    missing="mean",
    levels={"colour": ("blue", "red", HOSTILE)},
    bits=3,
    intercept=Intercept(-77, 3),
    features=tuple(
        feature(each, 0.0, 20000.25 if each.column == "sold" else 20000.0, n % 8, n - 4)
        for n, each in enumerate(INPUTS)
    ),
)
SAMPLE = {
    "colour": "red",
    "new": "true",
    "sold": "2020-01-01 12:00:00.250+00",
    "seen": "",
    "size": "0.1",
    "gone": "",
    "actual": "4",
}


def page_of(model: Predictor, sample: dict[str, str] | None = None, **changes: Any) -> str:
    """Return the page of a model; the weights of its float model are those of the codes + 0.1."""
    text = msgspec.json.encode(model)
    intercept = {"float": 0.1, "quantized": model.intercept.value}
    scores = {
        "float": BOTH,
        "quantized": BOTH,
        "quantization": QUANTIZATION,
        "intercept": intercept,
    }
    weights = [(weight + 0.1, 0.5) for weight in model.coef]
    given = sample or dict.fromkeys((*model.schema.kinds, "actual"), "0.5")
    arguments = {
        "text": text,
        "scores": scores,
        "weights": weights,
        "sample": given,
        "payload": b"\x01\xab",
        "plots": {},
    }
    return page(**arguments | changes)


def parsed(text: str) -> Element:
    """Parse HTML as browsers do, and refuse what they would have to mend."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    root: Element = parser.parse(text)
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len({*ids})
    return root


def text_of(node: Element) -> str:
    return " ".join("".join(node.itertext()).split())


def told(root: Element) -> Any:
    """Return what the page gives to its script."""
    [script] = [node for node in root.iter("script") if node.get("id") == "model"]
    return json.loads("".join(script.itertext()))


@pytest.mark.parametrize("model", [EXAMPLE, replace(EXAMPLE, missing="drop"), KINDS])
def test_it_is_valid_and_asks_for_nothing(model: Predictor) -> None:
    root = parsed(page_of(model, SAMPLE if model is KINDS else None))
    assert root.get("lang") == "en"
    for node in root.iter():
        assert not {"src", "srcset", "action", "style"} & node.attrib.keys()
        assert node.get("href", "data:,") == "data:,"
    [style] = root.iter("style")
    assert "url(" not in text_of(style)
    assert "@import" not in text_of(style)


def test_the_policy_allows_its_own_style_and_script_only() -> None:
    root = parsed(page_of(EXAMPLE))
    [policy] = [n.get("content", "") for n in root.iter("meta") if n.get("http-equiv")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert {*rules} == {"default-src", "style-src", "script-src", "img-src", "base-uri"}
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    assert "unsafe" not in policy


def test_names_are_text_whatever_they_are() -> None:
    levels = {HOSTILE: ("<b>", HOSTILE)}
    inputs = (Input(HOSTILE, "text", level=HOSTILE), Input("<!--<script>", "number"))
    features = tuple(feature(each, 0.0, 1.0, 1, 1) for each in inputs)
    model = replace(
        EXAMPLE, dataset=HOSTILE, target="<i>&amp;", unit=HOSTILE, levels=levels, features=features
    )
    sample = {HOSTILE: HOSTILE, "<!--<script>": "1", "actual": "0"}
    root = parsed(page_of(model, sample, plots={HOSTILE: "<svg></svg>"}))
    assert not [*root.iter("img"), *root.iter("i"), *root.iter("b")]
    assert "onerror" not in {name for node in root.iter() for name in node.attrib}
    assert told(root)["start"] == {HOSTILE: HOSTILE, "<!--<script>": 1.0}
    assert [text_of(node) for node in root.iter("h1")] == ["<i>&amp;"]
    assert HOSTILE in [text_of(node) for node in root.iter("figcaption")]


def test_it_says_what_the_scores_say() -> None:
    root = parsed(page_of(EXAMPLE))
    body = text_of(root)
    for words in (
        "predicts y, in apples, from 2 columns of toy. It has weights of 2 bits, proven the best",
        "2 bytes hold all",
        "explains 42.2 % of the variance and is off by 1.25 on average",
        "grow by 0.125 %",
        "by 0.25 at most on the test rows, and by no more than 0.5 anywhere",
        "the intercept is 13 / 22",
        "Gaps are empty fields: a row that has one is refused",
    ):
        assert words in body
    rows = [[text_of(cell) for cell in row] for row in root.iter("tr")]
    assert ["R² on test rows", "0.421875", "0.421875"] in rows
    assert ["R² on training rows", "0.500000", "0.500000"] in rows
    assert ["a", "0", "1", "2", "1", "0.5", "0.6"] in rows
    assert ['b "é"', "-1.5", "2", "1", "-2", "-4", "-3.9"] in rows
    assert [text_of(node) for node in root.iter("pre")] == ["01 ab"]
    quantization = QUANTIZATION | {"optimal": False}
    scores = {"float": BOTH, "quantized": BOTH, "intercept": {"float": 0.1, "quantized": 3.25}}
    other = page_of(EXAMPLE, scores=scores | {"quantization": quantization})
    assert "not proven the best" in other


def test_its_script_has_all_digits_and_starts_at_the_sample() -> None:
    found = told(parsed(page_of(KINDS, SAMPLE)))
    assert found["start"] == {
        "colour": "red",
        "new": True,
        "sold": 18262 + 0.5 + 0.25 / 86400,
        "seen": None,
        "size": 0.1,
        "gone": None,
    }
    assert found["weights"] == [[weight + 0.1, 0.5] for weight in KINDS.coef]
    assert (found["intercept"], found["actual"], found["std"]) == (0.1, 4.0, 2.5)


def test_it_names_the_predictor_that_it_is_of() -> None:
    text = PREDICTOR.read_bytes()
    root = parsed(PAGE.read_text(encoding="utf-8"))
    names = [n.get("content") for n in root.iter("meta") if n.get("name") == "predictor"]
    assert names == [sha256(text).hexdigest()]


def test_the_standard_library_is_enough() -> None:
    code = "import sys, stages.predictor.page; sys.exit(bool({'numpy', 'duckdb'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# in a browser

TYPES = {"number": "DOUBLE", "boolean": "BOOLEAN", "date": "TIMESTAMP", "text": "VARCHAR"}
TO_BITS = """
rows => rows.map((cells) => {
  const row = new Map(cells.map(([name, value, dated]) =>
    [name, dated && value !== null ? daysOf(value) : value]));
  const x = inputs(row);
  return [quantized(x), float(x)].map((y) =>
    new BigUint64Array(new Float64Array([y]).buffer)[0].toString(16));
})
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def random_rows(model: Predictor, n: int) -> list[list[Any]]:
    """Make rows for the columns of a model, in their ranges and far out, with gaps where it can."""
    rng = np.random.default_rng(7)
    ranges = {f.column: (f.min, f.max) for f in model.features if not f.missing}
    rows = []
    for _ in range(n):
        row: list[Any] = []
        for name, kind in model.schema.kinds.items():
            low, high = ranges.get(name, (0.0, 1.0))
            share = rng.random() * 1.5 - 0.25
            if model.missing == "mean" and rng.random() < 0.15:
                row.append(None)
            elif kind == "text":
                row.append(str(rng.choice([*model.levels[name], "seen by nobody"])))
            elif kind == "boolean":
                row.append(bool(rng.random() < 0.5))
            elif kind == "date":
                past = timedelta(days=float(low + share * (high - low)))
                moment = datetime(1970, 1, 1) + past
                row.append(moment.isoformat(timespec="milliseconds"))
            else:
                row.append(float(low + share * (high - low)))
        rows.append(row)
    return rows


def bits_of(model: Predictor, float_model: LinearModel, rows: list[list[Any]]) -> list[list[str]]:
    """Let DuckDB predict with the SQL of the model, and numpy with the float model."""
    kinds = model.schema.kinds
    columns = ", ".join(f"c{n} {TYPES[kind]}" for n, kind in enumerate(kinds.values()))
    names = ", ".join(f"c{n} AS {identifier(name)}" for n, name in enumerate(kinds))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE raw (n INTEGER, {columns})")
        marks = ", ".join("?" * (1 + len(kinds)))
        numbered = [[n, *row] for n, row in enumerate(rows)]
        connection.executemany(f"INSERT INTO raw VALUES ({marks})", numbered)
        connection.execute(f"CREATE VIEW given AS SELECT n, {names} FROM raw")
        found = connection.execute(f"SELECT prediction FROM ({select(model, 'given')}) ORDER BY n")
        predictions = [row[0] for row in found.fetchall()]
        at = {name: f"c{n}" for n, name in enumerate(kinds)}
        inputs = ", ".join(each.sql(at[each.column]) for each in model.schema.inputs)
        X = np.array(connection.execute(f"SELECT {inputs} FROM raw ORDER BY n").fetchall(), float)
    both = np.column_stack([predictions, float_model.predict(X)])
    return [[f"{bits:x}" for bits in row] for row in both.view(np.uint64).tolist()]


def assert_same_bits(
    tab: Browser, path: Path, model: Predictor, float_model: LinearModel, n: int = 2000
) -> None:
    tab.open(path)
    rows = random_rows(model, n)
    kinds = model.schema.kinds
    dated = [(name, kind == "date") for name, kind in kinds.items()]
    cells = [
        [[name, value, is_date] for (name, is_date), value in zip(dated, row, strict=True)]
        for row in rows
    ]
    found = tab.evaluate(f"({TO_BITS})({json.dumps(cells)})")
    assert found == bits_of(model, float_model, rows)
    assert len({*map(tuple, found)}) > n / 2


def float_of(folder: Path) -> LinearModel:
    columns = duckdb.read_csv(str(folder / PLOTS / "weights.csv")).fetchnumpy()
    weights = columns["weight"][columns["model"] == "float"]
    scores = json.loads((folder / SCORES).read_bytes())
    return LinearModel(np.asarray(weights, float), scores["intercept"]["float"])


@pytest.mark.slow
def test_the_committed_page_has_the_bits_of_sql_and_numpy(tab: Browser) -> None:
    assert_same_bits(tab, PAGE, document.load(PREDICTOR), float_of(Path()))


@pytest.mark.slow
def test_cars_have_the_bits_of_sql_and_numpy(tab: Browser, tmp_path: Path) -> None:
    folder = checkout(tmp_path / "cars")
    with chdir(folder):
        write(cars(600))
        for stage in (load, train, quantize, evaluate):
            stage.main()
        PAGE.write_text(report.written({}), encoding="utf-8")
        parsed(PAGE.read_text(encoding="utf-8"))
        assert_same_bits(tab, PAGE, document.load(PREDICTOR), float_of(Path()))
    assert tab.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_models_of_any_size_have_the_bits_of_sql_and_numpy(
    tab: Browser, tmp_path: Path, bits: int
) -> None:
    model = modelled(np.random.default_rng(bits), bits, 30, spread=200)
    path = tmp_path / "model.html"
    path.write_text(page_of(model), encoding="utf-8")
    float_model = LinearModel(np.array(model.coef) + 0.1, 0.1)
    assert_same_bits(tab, path, model, float_model, 200)


@pytest.fixture
def kinds(tab: Browser, tmp_path: Path) -> Browser:
    """Open the page of inputs of every kind."""
    path = tmp_path / "model.html"
    path.write_text(page_of(KINDS, SAMPLE), encoding="utf-8")
    tab.open(path)
    return tab


def shown(tab: Browser, name: str) -> str:
    return str(tab.evaluate(f"take('{name}').textContent"))


def put(tab: Browser, name: str, value: str) -> str:
    """Set the control of a column as a person does, and return what the page remarks."""
    script = f"""
        (() => {{
          const label = [...document.querySelectorAll("#rows label")]
            .find((it) => it.textContent === {json.dumps(name)});
          label.control.value = {json.dumps(value)};
          label.control.dispatchEvent(new Event("input", {{ bubbles: true }}));
          return label.parentElement.querySelector("small").textContent;
        }})()"""
    return str(tab.evaluate(script))


@pytest.mark.slow
def test_bits_that_are_powers_of_two_are_exact(kinds: Browser) -> None:
    found = kinds.evaluate("Array.from({ length: 2001 }, (_, n) => power(n - 1000))")
    assert found == [2.0**n for n in range(-1000, 1001)]


@pytest.mark.slow
def test_nothing_is_asked_for_and_names_do_no_harm(kinds: Browser) -> None:
    # a date's picture of a calendar is the browser's own
    asked = [url for url in kinds.requests if not url.startswith("data:")]
    assert len(asked) == 1
    assert kinds.complaints == []
    assert kinds.evaluate("document.images.length") == 0
    assert kinds.evaluate("document.querySelector('h1').textContent") == HOSTILE
    refused = "document.head.append(element('script', {src: 'https://example.com/x.js'}))"
    kinds.evaluate(f"{refused}, document.body.style.background = 'url(https://example.com/y)', 0")
    while not any("example.com" in complaint for complaint in kinds.complaints):
        kinds.heard()


@pytest.mark.slow
def test_what_is_unusual_is_said(kinds: Browser) -> None:
    remarks = "[...document.querySelectorAll('small')].map((it) => it.textContent)"
    at_first = ["", "", "", "missing: counts as 2019-04-14", "", "missing: counts as missing"]
    assert kinds.evaluate(remarks) == at_first
    first = shown(kinds, "quantized")
    assert put(kinds, "size", "20000") == ""
    assert put(kinds, "size", "20000.5") == "outside the training range, 0 to 20000"
    assert put(kinds, "size", "") == "missing: counts as 0.001"
    assert (
        put(kinds, "seen", "2030-01-01") == "outside the training range, 1970-01-01 to 2024-10-04"
    )
    assert put(kinds, "sold", "") == "missing: counts as 2019-04-14"
    assert put(kinds, "colour", "another") == (
        "not in the training rows: counts as the baseline, blue"
    )
    assert put(kinds, "colour", "missing") == "missing: counts as blue"
    assert put(kinds, "new", "missing") == "missing: counts as 0.25"
    assert put(kinds, "gone", "present") == ""
    assert shown(kinds, "quantized") != first
    kinds.evaluate("take('reset').click()")
    assert shown(kinds, "quantized") == first
    assert kinds.evaluate(remarks) == at_first


@pytest.mark.slow
def test_a_gap_without_a_filling_has_no_prediction(tab: Browser, tmp_path: Path) -> None:
    path = tmp_path / "model.html"
    path.write_text(page_of(EXAMPLE), encoding="utf-8")
    tab.open(path)
    assert shown(tab, "quantized") == "1.500"  # 3.25 + 0.25 - 2
    assert put(tab, "a", "") == "needs a value"
    assert [shown(tab, name) for name in ("quantized", "float", "difference")] == ["–"] * 3
    assert put(tab, "a", "-2") == "outside the training range, 0 to 1"
    assert shown(tab, "quantized") == "0.250"


@pytest.mark.slow
def test_a_slider_moves_by_keys_and_so_do_bar_and_prediction(tab: Browser, tmp_path: Path) -> None:
    path = tmp_path / "model.html"
    path.write_text(page_of(EXAMPLE), encoding="utf-8")
    tab.open(path)
    tab.evaluate("document.querySelector('[type=range]').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.ask(
            "Input.dispatchKeyEvent", type=kind, key="End", code="End", windowsVirtualKeyCode=35
        )
    assert tab.evaluate("document.querySelector('[type=number]').value") == "1"
    assert shown(tab, "quantized") == "1.750"  # 3.25 + 0.5 - 2
    added = tab.evaluate("[...document.querySelectorAll('.added')].map((it) => it.textContent)")
    assert added == ["+0.250", "0.000"]  # 0.5 · (1 - 0.5), and the value is the mean


@pytest.mark.slow
def test_the_bars_and_the_prediction_at_the_means_add_up(tab: Browser) -> None:
    tab.open(PAGE)
    at_means = json.loads(SCORES.read_bytes())["quantized"]["train"]["mean"]
    assert f"With {at_means:,.6g}, the prediction at these means" in text_of(
        parsed(PAGE.read_text(encoding="utf-8"))
    )
    term = "sum + times / scale * (inputs(row)[j] - mean)"
    added = tab.evaluate(f"features.reduce((sum, {{ times, scale, mean }}, j) => {term}, 0)")
    predicted = tab.evaluate("quantized(inputs(row))")
    assert at_means + added == pytest.approx(predicted, rel=1e-9, abs=1e-6)


@pytest.mark.slow
def test_it_fits_a_phone_and_is_dark_where_one_wants_it(tab: Browser) -> None:
    colours = {}
    for dark in (False, True):
        tab.look(390, 844, dark=dark)
        tab.open(PAGE)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        tab.evaluate("take('reset').scrollIntoView()")
        assert tab.evaluate("document.querySelector('.answer').getBoundingClientRect().top") == 0
        style = "getComputedStyle(document.body)"
        colours[dark] = tab.evaluate(f"[{style}.backgroundColor, {style}.color]")
    assert colours[False] == ["rgb(255, 255, 255)", "rgb(28, 29, 33)"]
    assert colours[True] == ["rgb(19, 20, 23)", "rgb(233, 234, 238)"]
