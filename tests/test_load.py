import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.model_selection import train_test_split

from stages import load
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.tables import datasets, table
from stages.tables.datasets import DataSet
from tests.conftest import rows_of

PARAMETERS = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))


def test_diabetes_needs_no_network(nowhere: Path) -> None:
    found = datasets.diabetes()
    rows = rows_of(found)
    assert rows.X.shape == (442, 10)
    assert rows.y.mean() == pytest.approx(152.1335, abs=5e-5)  # as in Efron et al.'s table


# the split


@pytest.fixture
def toy(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Make a built-in data set of 40 rows, whose target is the row's number."""
    numbers = np.arange(40.0)
    whole = DataSet(
        {'a "quoted" name': numbers / 7, "place": numbers**2, "ü": numbers.copy()},
        target="ü",
        unit="apples",
    )
    monkeypatch.setitem(datasets.SOURCES, "toy", lambda: whole)
    return whole


def loaded(**changed: Any) -> list[np.ndarray]:
    """Run the stage, and return both tables, and the sample: features, then the target."""
    section: dict[str, Any] = {
        "dataset": "toy",
        "target": None,
        "features": None,
        "unit": None,
        "key": None,
    }
    section |= {"missing": "fail", "levels": 50, "test_size": 0.25, "seed": 1} | changed
    Path("params.yaml").write_text(yaml.safe_dump(PARAMETERS | {"load": section}), "utf-8")
    load.main()
    train, test = table.read(TRAIN), table.read(TEST)
    return [np.vstack(list(train.blocks())), np.vstack(list(test.blocks())), test.sample()[1]]


def test_every_row_is_in_one_part_as_it_was(toy: DataSet) -> None:
    train, test, sample = loaded()
    whole = np.column_stack(list(toy.columns.values()))
    assert len(test) == 10
    both = np.vstack([train, test])
    assert (both[both[:, -1].argsort()] == whole).all()
    assert (sample[sample[:, -1].argsort()] == test).all()  # rows stay in the order of the data set


@pytest.mark.parametrize("test_size", [0.05, 0.2, 0.33, 0.5])
@pytest.mark.parametrize(
    "seed", [42, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 1, 2**32 - 1))]
)
def test_the_rows_are_those_of_train_test_split(toy: DataSet, test_size: float, seed: int) -> None:
    train, test, sample = loaded(test_size=test_size, seed=seed)
    rows = train_test_split(np.arange(40.0), test_size=test_size, random_state=seed)
    assert train[:, -1].tolist() == sorted(rows[0])
    assert test[:, -1].tolist() == sorted(rows[1])
    assert sample[:, -1].tolist() == rows[1].tolist()


def test_the_sample_is_the_first_thousand_rows_of_the_split(
    toy: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.random.default_rng(0).normal(size=(6000, 3))
    long = replace(toy, columns=dict(zip(toy.columns, whole.T, strict=True)))
    monkeypatch.setitem(datasets.SOURCES, "toy", lambda: long)
    _, test, sample = loaded(test_size=0.2, seed=42)
    _, rows = train_test_split(np.arange(6000), test_size=0.2, random_state=42)
    assert (sample == whole[rows[:1000]]).all()
    assert (test == whole[sorted(rows)]).all()


@pytest.mark.parametrize("part", ["training", "test"])
def test_a_constant_target_is_refused(part: str, toy: DataSet) -> None:
    train, test, _ = loaded()
    kept = {path: path.read_bytes() for path in Path("data").rglob("*.*")}
    toy.columns["ü"][(train if part == "training" else test)[:, -1].astype(int)] = 5.0
    with pytest.raises(InputError, match=rf"^toy: ü is 5.0 in all {part} rows"):
        loaded()
    assert {path: path.read_bytes() for path in Path("data").rglob("*.*")} == kept


@pytest.mark.parametrize("test_size", [0.01, 0.95, 0.9999])
def test_a_part_that_is_too_small_is_refused(test_size: float, toy: DataSet) -> None:
    with pytest.raises(InputError, match=f"load.test_size {test_size} leaves"):
        loaded(test_size=test_size)
    assert list(Path("data").iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": "price"}, "toy has no column price, only a"),
        ({"features": ["b"]}, "toy has no column b, only a"),
        ({"features": ["ü"]}, "load.features must not have the target, ü"),
        ({"features": ["place"], "target": "place"}, "load.features must not have the target"),
        ({"key": "place"}, "load.key must be null for toy"),
        ({"key": "ü", "target": "ü"}, "load.key must not have the target, ü"),
        ({"key": ["x"], "features": ["x"]}, "load.features must not have a column of load.key, x"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(
    toy: DataSet, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        loaded(**changed)


def test_columns_of_a_built_in_data_set_can_be_chosen(toy: DataSet) -> None:
    train, _, _ = loaded(target="place", features=["ü"])
    assert (train[:, 0] ** 2 == train[:, 1]).all()
    schema = table.read(TRAIN).schema
    assert (schema.features, schema.target, schema.unit) == (("ü",), "place", "its own unit")
    loaded(unit="m²")
    assert table.read(TRAIN).schema.unit == "m²"
