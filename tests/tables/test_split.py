"""Which rows are for training, and which for the test."""

import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stages import load
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.tables import datasets, gather, table
from stages.tables.datasets import DataSet
from tests.conftest import run_stages, write_csv, write_parquet

pytestmark = pytest.mark.usefixtures("own_folder")


# at random


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Make a built-in data set of 40 rows, whose target is the row's number."""
    numbers = np.arange(40.0)
    whole = DataSet(
        {'a "quoted" name': numbers / 7, "place": numbers**2, "ü": numbers.copy()},
        target="ü",
        unit="apples",
    )
    monkeypatch.setitem(datasets.SOURCES, "toy", lambda: whole)
    return whole


def load_toy(**parameters: Any) -> list[np.ndarray]:
    """Run the stage, and return both tables, and the sample: features, then the target."""
    run_stages(load, **{"dataset": "toy", "test_size": 0.25, "seed": 1} | parameters)
    train, test = table.read(TRAIN), table.read(TEST)
    return [np.vstack(list(train.blocks())), np.vstack(list(test.blocks())), test.sample()[1]]


def test_every_row_is_in_one_part_as_it_was(toy: DataSet) -> None:
    train, test, sample = load_toy()
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
    train, test, sample = load_toy(test_size=test_size, seed=seed)
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
    _, test, sample = load_toy(test_size=0.2, seed=42)
    _, rows = train_test_split(np.arange(6000), test_size=0.2, random_state=42)
    assert (sample == whole[rows[:1000]]).all()
    assert (test == whole[sorted(rows)]).all()


# by key


def make_houses(rng: np.random.Generator, n: int) -> list[list[object]]:
    """Make rows of a table that is split by a key: its text, two features and a price."""
    values = rng.normal(size=(n, 2)).round(3)
    price = (values @ [3.0, -1.0] + rng.normal(size=n)).round(3)
    return [[f"h{i:04}", *row, y] for i, (row, y) in enumerate(zip(values, price, strict=True))]


KEYED = ["id", "size", "age", "price"]


def load_sides(**parameters: object) -> tuple[set[tuple[float, ...]], ...]:
    """Load the files, and return the rows of both tables."""
    run_stages(load, **{"dataset": "data/raw/*.csv", "target": "price", "key": "id"} | parameters)
    return tuple(
        {tuple(row) for block in table.read(folder).blocks() for row in block.tolist()}
        for folder in (TRAIN, TEST)
    )


def digest(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_md5_of_seed_and_key_says_where_a_row_goes() -> None:
    rows = make_houses(np.random.default_rng(0), 500)
    write_csv(rows, KEYED)
    train, test = load_sides(seed=7)
    is_test = {tuple(row[1:]): digest(f"7:{row[0]}") < "33333333" for row in rows}
    assert test == {row for row, inside in is_test.items() if inside}
    assert train == {row for row, inside in is_test.items() if not inside}
    assert 70 < len(test) < 130
    first = sorted(rows, key=lambda row: digest(f"7:{row[0]}"))
    assert table.read(TEST).sample()[1].tolist() == [row[1:] for row in first[: len(test)]]


def test_a_row_keeps_its_side_when_the_table_grows() -> None:
    rows = make_houses(np.random.default_rng(1), 600)
    write_csv(rows[:200], KEYED)
    train, test = load_sides()
    write_csv(rows[200:], KEYED, "more.csv")
    grown = load_sides()
    assert train < grown[0]
    assert test < grown[1]


def test_several_columns_can_be_the_key() -> None:
    header, key = ["street", "number", "x", "price"], ["street", "number"]
    rows = [[i % 7, i // 7, i, i * i % 11] for i in range(100)]
    write_csv(rows, header)
    load_sides(key=key)
    assert table.read(TRAIN).schema.features == ("x",)
    write_csv(rows[:20], header, "twice.csv")
    with pytest.raises(InputError, match=r"2 rows have street '0', number '0' \(20 such"):
        load_sides(key=key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,x,price\n1,1,2\n,2,3\n,2,4\n", "row 2 below the header: id is empty, must name the"),
        ("id,x,price\n1,1,2\n,2,3\n,2,4\n", "(2 bad rows in all)"),
        ("id,x,price\nb,1,2\na,2,3\nb,2,4\na,1,1\na,1,1\n", "3 rows have id 'a' (2 such keys"),
        ("x,price\n1,2\n", "column id missing"),
    ],
)
def test_keys_that_do_not_name_a_row_are_refused(text: str, message: str) -> None:
    (gather.FOLDER / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        load_sides()
    assert "data/raw/" in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "fine"),
    [("INTEGER", True), ("VARCHAR", True), ("UUID", True), ("DOUBLE", False), ("DATE", False)],
)
def test_a_key_is_text_or_a_whole_number(kind: str, fine: bool) -> None:
    values = {"UUID": "uuid()", "DATE": "DATE '2026-01-01' + i::INTEGER"}.get(kind, f"i::{kind}")
    write_parquet(f"SELECT {values} AS id, i AS x, i % 3 AS price FROM range(99) AS t(i)")
    if fine:
        load_sides(dataset="data/raw/t.parquet")
        assert table.read(TRAIN).schema.features == ("x",)
    else:
        with pytest.raises(InputError, match=f"id must be text or whole .* type is {kind}"):
            load_sides(dataset="data/raw/t.parquet")


def test_an_empty_key_of_any_type_is_named() -> None:
    write_parquet(
        "SELECT CASE WHEN i < 7 THEN uuid() END AS id, i AS x, i % 3 AS price FROM range(9) AS t(i)"
    )
    with pytest.raises(InputError, match=r"row 8: id is empty, must name the row.* \(2 bad rows"):
        load_sides(dataset="data/raw/t.parquet")


def test_the_same_key_as_text_and_as_a_number_goes_the_same_way() -> None:
    write_csv([[i, i, i % 3] for i in range(99)], ["id", "x", "price"])
    write_parquet(f"SELECT id::INTEGER AS id, x, price FROM '{gather.FOLDER}/t.csv'")
    csv, parquet = (load_sides(dataset=f"data/raw/t.{form}") for form in ("csv", "parquet"))
    assert csv == parquet
