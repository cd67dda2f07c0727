"""The stage on a named data set: the random split, and what it refuses of any table."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stages import load
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.tables import gather, table
from stages.tables.datasets import diabetes
from stages.tables.relation import DataSet
from tests.conftest import rows_of, run_stages, write_csv

pytestmark = pytest.mark.usefixtures("own_folder")
NUMBERS = np.arange(40.0)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Make a named data set of 40 rows, whose target is the row's number."""
    columns = {'a "quoted" name': NUMBERS / 7, "place": NUMBERS**2, "ü": NUMBERS.copy()}
    name_data_set(columns, monkeypatch)
    return columns


def name_data_set(whole: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(load=lambda: whole)
    monkeypatch.setitem(sys.modules, "stages.tables.datasets.toy", module)
    monkeypatch.setattr(gather, "list_names", lambda: ["toy"])


def load_toy(**parameters: Any) -> list[np.ndarray]:
    """Run the stage, and return both tables, and the sample: features, then the target."""
    run_stages(load, **{"dataset": "toy", "test_size": 0.25, "seed": 1} | parameters)
    train, test = table.read(TRAIN), table.read(TEST)
    blocks = ([block for block, _ in part.blocks()] for part in (train, test))
    return [*map(np.vstack, blocks), test.sample()[1]]


@pytest.mark.parametrize(("test_size", "seed"), [(0.05, 0), (0.33, 42), (0.5, 2**32 - 1)])
def test_the_rows_are_those_of_train_test_split(toy: DataSet, test_size: float, seed: int) -> None:
    whole = np.column_stack(list(toy.values()))
    rows = train_test_split(np.arange(40), test_size=test_size, random_state=seed)
    train, test, sample = load_toy(test_size=test_size, seed=seed)
    assert (train == whole[sorted(rows[0])]).all()
    assert (test == whole[sorted(rows[1])]).all()
    assert (sample == whole[rows[1]]).all()


def test_the_sample_is_the_first_thousand_rows_of_the_split(
    toy: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.random.default_rng(0).normal(size=(6000, 3))
    long = dict(zip(toy, whole.T, strict=True))
    name_data_set(long, monkeypatch)
    _, test, sample = load_toy(test_size=0.2, seed=42)
    _, rows = train_test_split(np.arange(6000), test_size=0.2, random_state=42)
    assert (sample == whole[rows[:1000]]).all()
    assert (test == whole[sorted(rows)]).all()


def test_diabetes_needs_no_network(nowhere: Path) -> None:
    rows = rows_of(diabetes.load())
    assert rows.X.shape == (442, 10)
    assert rows.y.mean() == pytest.approx(152.1335, abs=5e-5)  # as in Efron et al.'s table


@pytest.mark.parametrize(("part", "folder"), [("training", TRAIN), ("test", TEST)])
def test_a_constant_target_is_refused(part: str, folder: Path, toy: DataSet) -> None:
    load_toy()
    kept = {path: path.read_bytes() for path in Path("data").rglob("*.*")}
    block, _ = next(table.read(folder).blocks())
    toy["ü"][block[:, -1].astype(int)] = 5.0
    with pytest.raises(InputError, match=rf"^toy: ü is 5.0 in all {part} rows"):
        load_toy()
    assert {path: path.read_bytes() for path in Path("data").rglob("*.*")} == kept


def test_levels_that_look_alike_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv([[i, ["Rome", "rome "][i % 2], i] for i in range(40)], ["x", "city", "y"])
    run_stages(load, target="y")
    told = "city: 'Rome' and 'rome ' differ in case or spaces only"
    assert capsys.readouterr().err == f"load: data/raw/t.csv: {told}\n"


@pytest.mark.parametrize("test_size", [0.01, 0.95, 0.9999])
def test_a_part_that_is_too_small_is_refused(test_size: float) -> None:
    with pytest.raises(InputError, match=f"load.test_size {test_size} leaves"):
        load_toy(test_size=test_size)
    assert [path.name for path in Path("data").iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": "price"}, "toy: column price missing; found a"),
        (
            {"features": ["ü"]},
            "load.target and load.order must be different columns, in more than case, got ü, ü",
        ),
        ({"key": "place"}, "the row with place '0.0': place is 0.0, must be text or whole numbers"),
        ({"key": ["x"], "features": ["x"]}, "column x missing"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_toy(**changed)


def test_columns_of_a_named_data_set_can_be_chosen() -> None:
    load_toy(target="place", features=["ü"])
    [(block, _)] = table.read(TRAIN).blocks()
    assert (block[:, 0] ** 2 == block[:, 1]).all()
    schema = table.read(TRAIN).schema
    assert (schema.features, schema.target) == (("ü",), "place")
