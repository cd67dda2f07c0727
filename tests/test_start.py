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
  unit: points
  key: null
  missing: fail
  na: [NA] # gaps
  dates: null
  categories: []
  levels: 20
  test_size: 0.25 # held out
  seed: 7

quantize: {bits: 8, rounding: optimal}
evaluate: {samples: 10}
gate:
  min_r2: 0.4 # least
  max_r2_drop: 0.001
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
        unit=None,
        key=None,
        missing="mean",
        na=["NA"],
        dates=None,
        categories=[],
        levels=20,
        test_size=0.25,
        seed=7,
    )
    assert found.gate == params.Gate(None, 0.001)
    assert load.main().startswith("150 training rows and 50 test rows")


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
        "  unit: null",
    ):
        assert text.count(line) == 1, text


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([(i, i % 3, i) for i in range(40)], "fail"),
        ([(i, i % 3 or None, i) for i in range(40)], "mean"),
        ([(i, i % 3, i % 7 or None) for i in range(40)], "mean"),
    ],
)
def test_gaps_are_provided_for(rows: list[tuple[object, ...]], missing: str) -> None:
    start.start(write("t.csv", ("a", "b: #1", "y"), *rows), "y")
    assert params.read().load.missing == missing
    assert params.read().load.features == ["a", "b: #1"]
    load.main()


def test_a_key_is_no_feature() -> None:
    path = write("t.csv", ("id", "x", "y"), *((i, i % 9, i % 5) for i in range(40)))
    start.start(path, "y", "id")
    found = params.read().load
    assert (found.key, found.features) == ("id", ["x"])


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("data/raw/none.csv", "y", "no file matches data/raw/none.csv"),
        ("t.csv", "y", "files below data/raw"),
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
