"""The page of a model: what it says and lets in, and the bits that it predicts in a browser."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import pytest
from msgspec.structs import replace

from stages import report
from stages.columns.inputs import Input
from stages.predictor.document import Predictor
from stages.project import files
from stages.project.cli import InputError
from stages.project.files import CARD, COEFFICIENTS, PAGE, PLOTS, PREDICTIONS, PREDICTOR, SCORES
from stages.regression import inference
from tests.browser import Browser, browser
from tests.conftest import CAR, EXAMPLE, coefficients_of, feature, succeed

HOSTILE = "</script><img src=x onerror=alert(1)>"
PART = {"r2": 0.5, "mse": 4.0, "rmse": 2.0, "mae": 1.25, "mean": 3.0, "std": 2.5}
BOTH = {"train": PART, "test": PART | {"r2": 0.421875}}
MEASURED: dict[str, Any] = {
    "half_widths": {"0.5": 0.4, "0.9": 1.5},
    "cv_r2": {"mean": 0.4567, "std": 0.03, "folds": [0.4, 0.5]},
    "baseline": {"mae": 2.25, "rmse": 3.5},
}
QUANTIZATION: dict[str, Any] = {
    "mse_growth_percent": 0.125,
    "r2_drop": 0.0625,
    "prediction_difference": {"mean": 0.1, "max": 0.25, "bound": 0.5},
    "optimal": True,
}
MORE = (
    feature(Input("fuel", "text", HOSTILE, fill=0.0), 0.0, 1.0, 3, 1),
    feature(Input("sold", "date", fill=18000.5), 0.0, 20000.25, 2, 7),
    feature(Input("<!--<script>", "number", missing=True), 0.0, 1.0, 5, 1),
)
KINDS = replace(  # inputs of every kind, with fillings for gaps
    CAR,
    dataset=HOSTILE,
    target="<i>&amp;",
    levels={"fuel": ("petrol", "diesel", HOSTILE)},
    features=(*CAR.features, *MORE),
)
SAMPLE = {
    "fuel": HOSTILE,
    "new": "true",
    "seen": "",
    "km": "0.1",
    "sold": "2020-01-01 12:00:00.250+00",
    "<!--<script>": "",
    "actual": "4",
}


def page_of(
    model: Predictor,
    sample: dict[str, str] | None = None,
    plots: dict[str, str] | None = None,
    *,
    optimal: bool = True,
    bare: bool = False,
    unit: str = HOSTILE,
) -> str:
    """Return the page of a model; the weights of its float model are those of the codes + 0.1.

    A bare one has no test rows, and as many training rows as coefficients. Sliders go from 0 to 1.
    """
    scores: dict[str, Any] = {
        "float": BOTH,
        "quantized": BOTH,
        "quantization": QUANTIZATION | {"optimal": optimal},
        "intercept": {"float": 0.1, "quantized": model.intercept.value},
        "digest": "a hash",
        "rows": {"train": len(model.features) + 1 if bare else 1000, "test": 0 if bare else 200},
    }
    if bare:
        scores |= {kind: {"train": PART} for kind in ("float", "quantized")}
        scores["quantization"] = QUANTIZATION | {"prediction_difference": {"bound": 0.5}}
    else:
        scores |= MEASURED
    weights = [(weight + 0.1, 0.5, 0.0, 1.0) for weight in model.coef]
    kinds = {**model.schema.kinds, "actual": "number"}
    samples = [sample or dict.fromkeys(kinds, cell) for cell in ("0.5", "-1.5")]
    rows = [{name: report.parse_cell(row[name], kinds[name]) for name in kinds} for row in samples]
    coefficients = coefficients_of(model, known=not bare)
    doubts = inference.list_doubts(coefficients, scores["rows"]["train"])
    return report.make_page(model, scores, coefficients, weights, rows, plots or {}, doubts, unit)


def parse(text: str) -> Element:
    """Parse HTML as browsers do, and refuse what they would have to mend."""
    root: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    return root


def text_of(node: Element) -> str:
    return " ".join("".join(node.itertext()).split())


def texts_of(root: Element, tag: str) -> list[str]:
    return [text_of(node) for node in root.iter(tag)]


@pytest.mark.parametrize("model", [EXAMPLE, replace(EXAMPLE, missing="drop"), KINDS])
def test_it_is_valid_and_asks_for_nothing(model: Predictor) -> None:
    root = parse(page_of(model, SAMPLE if model is KINDS else None))
    assert root.get("lang") == "en"
    for node in root.iter():
        assert not {"src", "srcset", "action", "style"} & node.attrib.keys()
        assert node.get("href", "data:,") == "data:,"
    [policy] = [node.get("content", "") for node in root.iter("meta") if node.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_names_are_text_whatever_they_are() -> None:
    root = parse(page_of(KINDS, SAMPLE, {HOSTILE: "<svg></svg>"}))
    assert not [*root.iter("img"), *root.iter("i")]
    assert texts_of(root, "h1") == ["<i>&amp;"]
    assert texts_of(root, "figcaption") == [HOSTILE]


def test_it_says_what_the_scores_say() -> None:
    root = parse(page_of(EXAMPLE, unit="apples"))
    for words in (
        "predicts y, in apples, from 2 columns of toy. On the test rows, its R² is 0.422",
        "is off by 1.25 on average (MAE). Its weights are codes of 2 bits.",
        "A code is a whole number from 0 to 3 that stands for a weight: 2 · code − 3, divided",
        "these are proven the best of their format",
        "one string of bits, of 5 bytes",
        "grow by 0.125 %",
        "by 0.25 at most on the test rows",
        "by 0.5 at most in the training range",
        "90 % within ±1.5",
        "R² 0.457 ± 0.030 in 2 folds",
        "MAE 2.25 ",
        "start from the mean row, for which the model predicts 3, and add up to the prediction",
        "Gaps are empty fields: a row that has one is refused",
        "together have the SHA-256 a hash",
    ):
        assert words in text_of(root)
    rows = [[text_of(cell) for cell in row] for row in root.iter("tr")]
    assert ["float, test rows", "0.421875", "4.000000", "2.000000", "1.250000"] in rows
    assert ["quantized, training rows", "0.500000", "4.000000", "2.000000", "1.250000"] in rows
    assert ["(intercept)", "", "", "", "13 / 2^2", "3.25", "3.35", "0.05"] in rows
    assert ["a", "0", "1", "2", "1 / 2^1", "0.5", "0.6", "0.05"] in rows
    assert ['b "é"', "-1.5", "2", "1", "-1 / 2^-2", "-4", "-3.9", "0.05"] in rows
    assert ["(intercept)", "3.35", "", "0.05", "67", "0.01", "3.25", "3.45", ""] in rows
    assert ["a", "0.6", "1.2", "0.05", "12", "0.01", "0.5", "0.7", "1.5"] in rows
    assert "not proven the best" in page_of(EXAMPLE, optimal=False)


def test_it_says_nothing_of_what_there_were_no_rows_for() -> None:
    text = page_of(EXAMPLE, bare=True)
    root = parse(text)
    assert "On the training rows, its R² is 0.500" in text_of(root)
    assert "3 rows are few for 2 features" in text_of(root)
    assert "by 0.5 at most in the training range" in text_of(root)
    rows = [[text_of(cell) for cell in row] for row in root.iter("tr")]
    assert ["a", "0.6", "1.2", "", "", "", "", "", "1.5"] in rows
    assert not {"float, test rows", "quantized, test rows"} & {row[0] for row in rows}
    for words in ("lie within", "±", "folds", "at most on the test rows", "nan", "None"):
        assert words not in text.partition("<script")[0]


def test_its_script_has_all_digits_and_starts_at_the_sample() -> None:
    script, _ = parse(page_of(KINDS, SAMPLE)).iter("script")
    found = json.loads("".join(script.itertext()))
    assert found["rows"][0] == {
        "fuel": HOSTILE,
        "new": 1,
        "seen": None,
        "km": 0.1,
        "sold": 18262 + 0.5 + 0.25 / 86400,
        "<!--<script>": None,
        "actual": 4.0,
    }
    assert found["weights"] == [[weight + 0.1, 0.5, 0, 1] for weight in KINDS.coef]
    assert (found["intercept"], found["std"]) == (0.1, 2.5)


def test_without_a_unit_nothing_is_printed() -> None:
    root = parse(page_of(EXAMPLE, unit=""))
    assert "A linear regression predicts y from 2 columns of toy. On" in text_of(root)
    [output] = root.iter("output")
    assert text_of(output) == "–"
    for words in ("None", "apples", "unit", " ,", ",,"):
        assert words not in text_of(root).partition('{"')[0], words


def test_doubts_are_those_of_train_and_no_list_is_empty() -> None:
    a = replace(EXAMPLE.features[0], code=1, exponent=20)  # 0.1 ± 0.1, but less than a millionth
    doubts, *_ = parse(page_of(replace(EXAMPLE, features=(a,)))).iter("ul")
    assert text_of(doubts) == "the 95 % interval has 0 in it for 1 of 1 weight: a"
    assert [len(each) for each in parse(page_of(EXAMPLE)).iter("ul")] == [1, 3, 4]


@pytest.mark.slow
def test_what_is_committed_is_what_report_makes_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacing = files.replacing
    monkeypatch.setattr(files, "replacing", lambda path: replacing(tmp_path / path.name))
    report.main()
    for path in (PAGE, CARD, *Path("reports/pictures").iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    text = PAGE.read_text(encoding="utf-8")
    root = parse(text)
    names = [node.get("content") for node in root.iter("meta") if node.get("name") == "predictor"]
    assert names == [sha256(PREDICTOR.read_bytes() + SCORES.read_bytes()).hexdigest()]
    pipeline = Path("dvc.yaml").read_text(encoding="utf-8")
    drawn = texts_of(root, "figcaption")
    assert len(drawn) == len(report.PLOTS)
    assert all(f"title: {title}\n" in pipeline for title in drawn)
    points = [len(figure.findall(".//{*}path")) for figure in root.iter("figure")]
    assert min(points) > 2 * 8
    assert "workspace" not in text_of(root)  # as DVC calls what is here, in legends
    every = parse((tmp_path / "index.html").read_text(encoding="utf-8"))
    titles = {*re.findall("title: (.*)\n", pipeline)}
    # where features have unlike fields, DVC does not draw predictor.json
    assert titles - {*texts_of(every, "figcaption")} <= {
        title for title in titles if "Codes" in title
    }


def test_coefficients_of_another_table_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree("reports", tmp_path / "reports")
    shutil.copytree("models", tmp_path / "models")
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "draw_plots", lambda *_: dict.fromkeys(report.PLOTS, ("", "")))
    COEFFICIENTS.unlink(missing_ok=True)
    with pytest.raises(InputError, match=f"^{re.escape(COEFFICIENTS.as_posix())} does not exist"):
        report.main()
    COEFFICIENTS.write_text("feature,coefficient,std_error\na,1,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"its features are not those of the model$"):
        report.main()


@pytest.mark.parametrize("path", [PLOTS / "weights.csv", PREDICTIONS])
def test_files_that_are_damaged_are_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree("reports", tmp_path / "reports")
    shutil.copytree("models", tmp_path / "models")
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    header, first, *_ = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{header}\n{re.sub(r'[0-9]', 'x', first)}\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"^{re.escape(path.as_posix())} is damaged"):
        report.main()


@pytest.mark.slow
def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no plots, whose data `dvc repro` makes"):
        report.draw_plots("price", "")
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(InputError, match=r"pip install -r requirements/page.txt"):
        report.draw_plots("price", "")


# in a browser


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def show(tab: Browser, folder: Path, *arguments: Any) -> Path:
    """Open the page of a model, as `page_of` makes it."""
    path = folder / "model.html"
    path.write_text(page_of(*arguments), encoding="utf-8")
    tab.open(path)
    return path


@pytest.mark.slow
def test_names_do_no_harm_and_nothing_is_asked_for(tab: Browser, tmp_path: Path) -> None:
    show(tab, tmp_path, KINDS, SAMPLE)
    assert tab.complaints == []
    # a date's picture of a calendar is the browser's own
    assert len([url for url in tab.requests if not url.startswith("data:")]) == 1
    assert tab.evaluate("document.images.length") == 0
    refused = "document.head.append(element('script', {src: 'https://example.com/x.js'}))"
    tab.evaluate(f"{refused}, document.body.style.background = 'url(https://example.com/y)', 0")
    while not any("example.com" in complaint for complaint in tab.complaints):
        tab.hear()


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
def test_what_is_unusual_is_said(tab: Browser, tmp_path: Path) -> None:
    show(tab, tmp_path, KINDS, SAMPLE)
    remarks = "[...document.querySelectorAll('.row small')].map((it) => it.textContent)"
    at_first = ["", "", "missing: counts as 1970-01-21", "outside the training range, 0.5 to 2"]
    at_first += ["", "missing: counts as missing"]
    assert tab.evaluate(remarks) == at_first
    first = shown(tab, "quantized")
    for name, value, remark in (
        ("km", "2", ""),
        ("km", "2.5", "outside the training range, 0.5 to 2"),
        ("km", "", "missing: counts as 1.5"),
        ("seen", "2030-01-01", "outside the training range, 1970-01-11 to 1970-02-10"),
        ("sold", "", "missing: counts as 2019-04-14"),
        ("fuel", "another", "not in the training rows: counts as the baseline, petrol"),
        ("fuel", "missing", "missing: counts as petrol, and as missing"),
        ("new", "missing", "missing: counts as 0.25"),
        ("<!--<script>", "present", ""),
    ):
        assert put(tab, name, value) == remark, name
    assert shown(tab, "quantized") != first
    tab.evaluate("document.querySelector('#samples button').click()")
    assert shown(tab, "quantized") == first
    assert tab.evaluate(remarks) == at_first


@pytest.mark.slow
def test_a_level_that_only_products_have_is_no_baseline(tab: Browser, tmp_path: Path) -> None:
    factors = (Input("a"), Input("town", "text", "Rome"))
    times = Input("a * town = Rome", "product", factors=factors, operators="**")
    levels = {"town": ("Rome", "Oslo")}
    features = (*EXAMPLE.features, feature(times, 0.0, 2.0, 2, 0))
    model = replace(EXAMPLE, levels=levels, features=features)
    cells = {"a": "0.5", 'b "é"': "0.5", "town": "Rome", "actual": "1"}
    show(tab, tmp_path, model, cells)
    assert shown(tab, "quantized") == "2.000"  # 1.5 + 1 · 0.5
    assert put(tab, "town", "Rome") == ""
    assert put(tab, "town", "another") == "not in the training rows: counts as none of its levels"
    assert shown(tab, "quantized") == "1.500"
    own = feature(Input("town", "text", "Oslo"), 0.0, 1.0, 2, 0)
    show(tab, tmp_path, replace(model, features=(*model.features, own)), cells)
    assert put(tab, "town", "another") == "not in the training rows: counts as none of its levels"
    assert tab.complaints == []


@pytest.mark.slow
def test_fields_and_keys_move_bars_and_predictions(tab: Browser, tmp_path: Path) -> None:
    show(tab, tmp_path, EXAMPLE)
    assert shown(tab, "quantized") == "1.500"  # 3.25 + 0.25 - 2
    assert put(tab, "a", "") == "needs a value"
    assert [shown(tab, name) for name in ("quantized", "float", "difference")] == ["–"] * 3
    assert put(tab, "a", "-2") == "outside the training range, 0 to 1"
    assert shown(tab, "quantized") == "0.250"
    tab.evaluate("document.querySelector('[type=range]').focus()")
    key = {"key": "End", "code": "End", "windowsVirtualKeyCode": 35}
    for kind in ("keyDown", "keyUp"):
        tab.ask("Input.dispatchKeyEvent", type=kind, **key)
    assert tab.evaluate("document.querySelector('[type=number]').value") == "1"
    assert shown(tab, "quantized") == "1.750"  # 3.25 + 0.5 - 2
    added = tab.evaluate("[...document.querySelectorAll('.added')].map((it) => it.textContent)")
    assert added == ["+0.250", "0.000"]  # 0.5 · (1 - 0.5), and the value is the mean


@pytest.mark.slow
def test_a_ratio_follows_its_columns_and_has_a_line_without_a_field(
    tab: Browser, tmp_path: Path
) -> None:
    ratio = Input("a / c", "product", factors=(Input("a"), Input("c")), operators="*/")
    model = replace(EXAMPLE, features=(*EXAMPLE.features, feature(ratio, 0.0, 2.0, 2, 0)))
    show(tab, tmp_path, model)
    lines = "[...document.querySelectorAll('#rows label')].map((it) => it.textContent)"
    assert tab.evaluate(lines) == ["a", 'b "é"', "c", "a / c"]
    value = "document.querySelector('#rows output').value"
    added = "[...document.querySelectorAll('.added')].at(-1).textContent"
    ranges = "document.querySelectorAll('[type=range]').length"
    assert tab.evaluate(ranges) == 2  # c has no training range
    assert (tab.evaluate(value), shown(tab, "quantized")) == ("1", "2.500")  # 1.5 + 0.5 / 0.5
    put(tab, "c", "0.25")
    assert (tab.evaluate(value), shown(tab, "quantized")) == ("2", "3.500")
    assert tab.evaluate(added) == "+1.500"  # 1 · (2 - 0.5)
    assert put(tab, "c", "0") == ""
    assert (tab.evaluate(value), shown(tab, "quantized")) == ("", "–")
    filled = replace(ratio, fill=0.75)
    more = replace(model, features=(*EXAMPLE.features, feature(filled, 0.0, 2.0, 2, 0)))
    show(tab, tmp_path, replace(more, missing="mean"))
    put(tab, "c", "0")
    remark = "[...document.querySelectorAll('.row small')].at(-1).textContent"
    assert tab.evaluate(remark) == "missing: counts as 0.75"
    assert (tab.evaluate(value), shown(tab, "quantized")) == ("missing", "2.250")
    assert put(tab, "c", "") == "missing: counts as missing"
    assert shown(tab, "quantized") == "2.250"
    assert tab.complaints == []


SLIDERS = """
[...document.querySelectorAll("[type=range]")].map(({ min, max, value }) => [min, max, value])"""


@pytest.mark.slow
def test_sliders_cover_percentiles_and_fields_take_any_value(tab: Browser, tmp_path: Path) -> None:
    far = replace(EXAMPLE, features=(replace(EXAMPLE.features[0], min=-3.0, max=1243.0),))
    show(tab, tmp_path, far)
    assert tab.evaluate(SLIDERS) == [["0", "1", "0.5"]]
    assert put(tab, "a", "1000") == ""
    assert tab.evaluate(SLIDERS) == [["0", "1", "1"]]
    assert shown(tab, "quantized") == "503.250"  # 3.25 + 0.5 · 1000
    assert put(tab, "a", "1244") == "outside the training range, -3 to 1243"
    rounded = "JSON.stringify(round({ min: -3, max: 1243, p1: %s, p99: %s }))"
    for p1, p99, ends in (
        (1.7743, 5.3925, {"low": 1.7, "high": 5.4}),
        (-2.999, 871.3, {"low": -3, "high": 880}),
        (0.1, 0.3, {"low": 0.1, "high": 0.3}),
        (2, 2, {"low": -3, "high": 1243}),  # in nearly all rows
        (1500, 1600, {"low": -3, "high": 1243}),  # of test rows that come later
    ):
        assert json.loads(tab.evaluate(rounded % (p1, p99))) == ends


@pytest.mark.slow
def test_a_button_puts_a_sample_row_into_the_inputs(tab: Browser, tmp_path: Path) -> None:
    show(tab, tmp_path, EXAMPLE)
    rows = "[...take('samples').rows].map((row) => [...row.cells].map((it) => it.textContent))"
    assert tab.evaluate(rows) == [
        ["row 1", "1.500", "0.500", "+1.000"],  # 3.25 + 0.25 - 2
        ["row 2", "8.500", "−1.500", "+10.000"],  # 3.25 - 0.75 + 6
    ]
    assert shown(tab, "quantized") == "1.500"
    tab.evaluate("take('samples').rows[1].querySelector('button').click()")
    assert shown(tab, "quantized") == "8.500"
    assert tab.evaluate("[...document.querySelectorAll('.field')].map((it) => it.value)") == [
        "-1.5",
        "-1.5",
    ]


@pytest.mark.slow
def test_the_interval_follows_the_prediction(tab: Browser, tmp_path: Path) -> None:
    show(tab, tmp_path, EXAMPLE)
    assert "±1.500: 0.000 to 3.000" in shown(tab, "interval")  # of 1.500
    put(tab, "a", "-2")
    assert "±1.500: −1.250 to 1.750" in shown(tab, "interval")
    put(tab, "a", "")
    assert "– to –" in shown(tab, "interval")


BARS = """
[...take("estimates").tBodies[0].rows].map((row) => [row.cells[0].textContent,
  ...[...row.querySelectorAll(".bar i")].flatMap((bar) =>
    ["left", "width"].map((it) => parseFloat(bar.style[it])))])"""


@pytest.mark.slow
def test_a_coefficient_has_its_interval_as_a_bar_around_zero(tab: Browser, tmp_path: Path) -> None:
    show(tab, tmp_path, EXAMPLE)
    # times a deviation of 2: 1 to 1.4, and -8 to -7.6, which is the widest
    assert tab.evaluate(BARS) == [
        ["(intercept)"],
        ["a", pytest.approx(50 + 50 * 1 / 8), pytest.approx(50 * 0.4 / 8)],
        ['b "é"', 0, pytest.approx(50 * 0.4 / 8)],
    ]
    cells = "[...take('estimates').rows].map((row) => [...row.cells].map((it) => it.textContent))"
    heads, _, a, _ = tab.evaluate(cells)
    names = [
        "feature",
        "95 % interval",
        "coefficient",
        "95\N{NO-BREAK SPACE}% from",
        "to",
        "p",
        "VIF",
    ]
    assert heads == names
    assert a == ["a", "", "0.6", "0.5", "0.7", "0.01", "1.5"]


@pytest.mark.slow
def test_a_bare_page_has_points_and_no_interval(tab: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bare.html"
    path.write_text(page_of(EXAMPLE, bare=True), encoding="utf-8")
    tab.open(path)
    assert tab.complaints == []
    assert shown(tab, "quantized") == "1.500"
    assert shown(tab, "interval") == "too few test rows for an interval"
    found = [line[1:] for line in tab.evaluate(BARS)]
    assert found == [[], [pytest.approx(50 + 50 * 1.2 / 7.8), 0], [0, 0]]


@pytest.mark.slow
def test_the_bars_and_the_prediction_at_the_means_add_up(tab: Browser) -> None:
    tab.open(PAGE)
    at_means = json.loads(SCORES.read_bytes())["quantized"]["train"]["mean"]
    term = "sum + times / scale * (inputs(row)[j] - mean)"
    added = tab.evaluate(f"features.reduce((sum, {{ times, scale, mean }}, j) => {term}, 0)")
    predicted = tab.evaluate("quantized(inputs(row))")
    assert at_means + added == pytest.approx(predicted, rel=1e-9, abs=1e-6)


CUT = """
[...document.querySelectorAll("main *")].filter((it) => !it.closest(".wide, figure") &&
  it.checkVisibility() && (it.getBoundingClientRect().right > innerWidth ||
    it.matches("input") && it.scrollWidth > it.clientWidth)).map((it) => it.outerHTML)"""
OPEN = "for (const each of document.querySelectorAll('details')) each.open = true"


@pytest.mark.slow
@pytest.mark.parametrize("has_long_names", [False, True])
@pytest.mark.parametrize("width", [390, 800])
def test_it_fits_a_phone(width: int, has_long_names: bool, tab: Browser, tmp_path: Path) -> None:
    tab.look(width, 844)
    if has_long_names:
        a, b = (replace(each, column=each.column * 60) for each in EXAMPLE.features)
        cells = {a.column: "-1.2345678901234567e-08", b.column: "-124.35000000000001"}
        show(tab, tmp_path, replace(KINDS, features=(*KINDS.features, a, b)), SAMPLE | cells)
    else:
        tab.open(PAGE)
    tab.evaluate(OPEN)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(CUT) == []
    boxes = (
        "[...document.querySelectorAll('.wide')].every((it) => it.scrollWidth <= it.clientWidth)"
    )
    assert width > 390 or tab.evaluate(boxes)
    tab.evaluate("take('rows').scrollIntoView()")
    assert tab.evaluate("document.querySelector('.answer').getBoundingClientRect().top") == 0


@pytest.mark.slow
def test_a_table_has_labels_on_a_phone_and_stays_a_table(tab: Browser, tmp_path: Path) -> None:
    tab.look(390, 844)
    show(tab, tmp_path, EXAMPLE)
    tab.evaluate(OPEN)
    [tree] = [tab.ask("Accessibility.getFullAXTree")["nodes"]]
    roles = [node["role"]["value"] for node in tree if "role" in node]
    assert roles.count("table") == 4
    assert roles.count("columnheader") == 4 + 5 + 7 + 8
    assert roles.count("rowheader") == 2 + 4 + 3 + 3
    label = "getComputedStyle(take('estimates').rows[2].cells[%s], '::before').content"
    assert tab.evaluate(label % 2).startswith('"coefficient"')
    assert tab.evaluate(label % 6).startswith('"VIF"')


AXE = "axe-core@4.14.1"
# shadows at the ends of a box would leave contrast in doubt, as a picture does with text in it
PLAIN = "for (const it of document.querySelectorAll('.wide, figure')) it.style.background = 'none'"
FAULTS = """
axe.run().then(({ violations, incomplete }) =>
  [...violations, ...incomplete.filter(({ id }) => id === "color-contrast")]
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ": " + html))
    .filter((it) => !/^color-contrast: <t(ext|span)\\b/.test(it)))"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the script of axe-core, which looks for what keeps people out."""
    if not (npm := shutil.which("npm")):
        pytest.skip("there is no npm, which has axe-core")
    folder = tmp_path_factory.mktemp("axe")
    succeed(
        npm, "install", "--silent", "--ignore-scripts", "--prefix", str(folder), AXE, cwd=folder
    )
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(width: int, scheme: str, tab: Browser, axe: str, tmp_path: Path) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    tab.ask("Emulation.setEmulatedMedia", features=features)
    tab.look(width, 844)
    kinds = tmp_path / "kinds.html"
    kinds.write_text(page_of(KINDS, SAMPLE), encoding="utf-8")
    for page in (PAGE, kinds):
        tab.open(page)
        tab.evaluate(f"{OPEN}; {PLAIN}")
        tab.evaluate(axe)
        assert tab.evaluate(FAULTS) == []
    tab.ask("Emulation.setEmulatedMedia", features=[])
