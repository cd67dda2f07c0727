"""`python -m stages.start`: a table of one's own becomes the project's."""

from pathlib import Path

import pytest

from stages import load, start
from stages.project import params
from stages.project.cli import InputError
from stages.tables import gather
from tests.cars import HEADER, cars
from tests.conftest import csv_of

PARAMETERS = """\
# ours
load:
  dataset: diabetes # a table
  target: null
  features: [bmi] # to predict from
  derived: [bmi * bmi] # of another table
  key: null
  missing: fail
  na: [NA] # gaps
  dates: null
  categories: []
  levels: 20
  order: null
  test_size: 0.25 # held out
  seed: 7

train: {folds: 5, tolerance: 1.0e-13}
quantize: {bits: 8, rounding: optimal}
evaluate: {samples: 10}
gate:
  # for each data set
  min_r2: {diabetes: 0.4} # least
  min_cv_r2: 0.4
  max_r2_drop: 0.001
report:
  unit: points # for people
"""


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gather.FOLDER.mkdir(parents=True)
    Path("params.yaml").write_text(PARAMETERS, encoding="utf-8")


def write(name: str, header: tuple[str, ...], *rows: tuple[object, ...]) -> str:
    path = gather.FOLDER / name
    path.write_text(csv_of(header, *rows), encoding="utf-8")
    return path.as_posix()


def test_the_parameters_are_those_of_the_table_and_load_takes_them() -> None:
    path = write("cars.csv", HEADER, *cars(200))
    start.start(path, "price")
    found = params.read()
    assert found.load == params.Load(
        dataset=path,
        target="price",
        features=["brand", "fuel", "automatic", "registered", "seen", "mileage"],
        derived=[],
        key=None,
        missing="mean",
        na=["NA"],
        dates=None,
        categories=[],
        levels=20,
        order=None,
        test_size=0.25,
        seed=7,
    )
    assert found.gate == params.Gate(None, None, 0.001)
    assert load.main().startswith("150 training rows and 50 test rows")


@pytest.mark.slow
def test_comments_say_what_columns_hold_and_the_output_why_others_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write("cars.csv", HEADER, *cars(200))
    start.start(path, "price")
    said = capsys.readouterr().out
    assert "left out: vin: text of 150 levels, load.levels is 20" in said
    assert "left out: note: it has no values" in said
    text = Path("params.yaml").read_text(encoding="utf-8")
    start.start(path, "price")
    assert Path("params.yaml").read_text(encoding="utf-8") == text
    for line in (
        "# ours",
        "  test_size: 0.25 # held out",
        "- fuel # text of 3 levels, petrol is the baseline, ",
        "  unit: null # for people",
    ):
        assert text.count(line) == 1, text
    for line in text.splitlines():  # comments follow the values
        before = line.partition("#")[0]
        assert before in ("", "  ", line, before.rstrip() + " ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([(2 * i, i % 3, i) for i in range(40)], "fail"),
        ([(2 * i, i % 3 or None, i) for i in range(40)], "mean"),
        ([(2 * i, i % 3, i % 7 or None) for i in range(40)], "mean"),
    ],
)
def test_gaps_are_provided_for(rows: list[tuple[object, ...]], missing: str) -> None:
    start.start(write("t.csv", ("a", "b: #1", "y"), *rows), "y")
    assert params.read().load.missing == missing
    assert params.read().load.features == ["a", "b: #1"]
    load.main()


@pytest.mark.slow
def test_what_only_names_or_counts_the_rows_is_no_feature(
    capsys: pytest.CaptureFixture[str],
) -> None:
    header = ("ID", "n", "x", "unnamed: 0", "y")
    path = write("t.csv", header, *((i % 30, i + 7, 3 * i, -i, i % 5) for i in range(40)))
    start.start(path, "y")
    said = capsys.readouterr().out
    assert params.read().load.features == ["x"]
    assert "left out: ID: it names the row" in said
    assert "left out: n: it counts up by one with the row" in said
    assert said.count("--key") == said.count("--key n keeps") == 1
    path = write("t.csv", ("ID", "n", "y"), *((i, i + 7, i % 5) for i in range(40)))
    start.start(path, "y")
    assert params.read().load.features == ["n"]  # there is nothing else


def test_all_problems_are_told_at_once_and_the_other_columns_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    header = ("a", "b", "c", "error", "y")
    odd = {5: "x", 9: ">3"}
    rows = [(odd.get(i, i % 7), odd.get(i - 4, 2 * i), i % 9, i * i, i % 5) for i in range(40)]
    start.start(write("t.csv", header, *rows), "y")
    said = capsys.readouterr().out
    assert "left out: a: row 6 below the header: a is 'x', must be a" in said
    assert "left out: b: row 10 below the header: b is 'x', must be a" in said
    assert "left out: error: the output has a column of this name" in said
    assert params.read().load.features == ["c"]


@pytest.mark.slow
def test_texts_that_repeat_among_numbers_and_dates_mark_gaps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    days = ("." if i % 9 == 4 else f"2020-01-{i % 28 + 1:02}" for i in range(40))
    rows = (
        (day, "?" if i % 8 == 3 else 2 * i, "-" if i < 2 else i, i % 5)
        for i, day in enumerate(days)
    )
    start.start(write("t.csv", ("day", "x", "few", "y"), *rows), "y")
    assert "load.na has more: '.', '?'" in capsys.readouterr().out
    found = params.read().load
    assert (found.na, found.features) == (["NA", ".", "?"], ["day", "x"])


def test_a_comment_says_how_a_column_is_written() -> None:
    rows = ((f"${i * i:,}", f"{i % 28 + 1}.1.2020", i % 7 / 2) for i in range(60))
    start.start(write("t.csv", ("paid", "day", "y"), *rows), "y")
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert "- paid # number, written as 1,234.5" in text
    assert "- day # date, written as 31.12.2020" in text


def test_codes_are_told_and_not_decided() -> None:
    rows = ((f"{i % 90:03}", i % 5, i % 2, i % 30, i % 7 / 2) for i in range(120))
    start.start(write("t.csv", ("zip", "grade", "flag", "many", "y"), *rows), "y")
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert "- zip # number, leading zeros: a category? then list it in load.categories" in text
    assert "- grade # number, 5 different whole numbers: a category? then" in text
    assert text.count("a category?") == 2
    assert params.read().load.categories == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1, "a", 2), (5, "b", 3)], "leaves 1 rows for training and 1 for the test"),
        ([(i * i, "a", 2) for i in range(40)], "y is 2.0 in all training rows"),
    ],
)
def test_a_table_that_makes_no_model_leaves_the_parameters_as_they_were(
    rows: list[tuple[object, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        start.start(write("t.csv", ("x", "z", "y"), *rows), "y")
    assert Path("params.yaml").read_text(encoding="utf-8") == PARAMETERS


def test_too_many_features_for_the_rows_are_written_and_the_column_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write("t.csv", ("x", "city", "y"), *((i * i, f"c{i}", i % 5) for i in range(24)))
    with pytest.raises(InputError, match=r"are needed for \d\d features, city 1\d$"):
        start.start(path, "y")
    assert params.read().load.features == ["x", "city"]
    assert "next:" not in capsys.readouterr().out


def run(*args: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["start", *args])
        start.main()


@pytest.mark.slow
def test_a_key_is_no_feature() -> None:
    header = ("id", "x", "z", "y")
    path = write("t.csv", header, *((i, i * i, i % 3, i % 5) for i in range(40)))
    start.start(path, "y", key="id")
    found = params.read().load
    assert (found.key, found.features) == ("id", ["x", "z"])
    run(path, "--target", "y", "--key", 'id,"x"', "--unit", "€", "--categories", "z")
    assert params.read().report.unit == "€"
    found = params.read().load
    assert (found.key, found.categories) == (["id", "x"], ["z"])
    assert "  key: [id, x]\n" in Path("params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("data/raw/none.csv", "y", "no file matches data/raw/none.csv"),
        ("t.csv", "y", "files below data/raw"),
        ("params.yaml", "y", "got 'params.yaml': copy it to data/raw"),
        ("data/raw/t.csv", "z", "column z missing; found x, y"),
        ("data/raw/t.csv", "x", "x is 'a', must be a finite number"),
    ],
)
def test_what_cannot_be_used_leaves_the_parameters_as_they_were(
    path: str, target: str, message: str
) -> None:
    write("t.csv", ("x", "y"), ("a", 1), ("b", 2))
    with pytest.raises(InputError, match=message):
        start.start(path, target)
    assert Path("params.yaml").read_text(encoding="utf-8") == PARAMETERS
