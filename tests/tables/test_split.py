"""By key or order a row is for training or the test, and in a fold; test_load.py has the draw."""

import hashlib
import re
from datetime import date, timedelta

import numpy as np
import pytest

from stages import load
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.tables import gather, table
from tests.conftest import run_stages, write_csv, write_parquet

pytestmark = pytest.mark.usefixtures("own_folder")


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
        {tuple(row) for block, _ in table.read(folder).blocks() for row in block.tolist()}
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


@pytest.mark.slow
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
        (
            "id,x,price\n1,1,2\n,2,3\n,2,4\n",
            "row 2 below the header: id is empty, must be text or",
        ),
        ("id,x,price\n1,1,2\n,2,3\n,2,4\n", "(2 bad values in all)"),
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
    ("key", "message"),
    [
        ("i::DOUBLE", "row 1: id is 0.0, must be text or whole"),
        ("DATE '2026-01-01' + i::INTEGER", "row 1: id is '2026-01-01', must be text or whole"),
        ("CASE WHEN i < 7 THEN uuid() END", r"row 8: id is empty, must be .* \(2 bad values"),
    ],
)
def test_a_key_is_text_or_a_whole_number(key: str, message: str) -> None:
    write_parquet(f"SELECT {key} AS id, i AS x, i % 3 AS price FROM range(9) AS t(i)")
    with pytest.raises(InputError, match=message):
        load_sides(dataset="data/raw/t.parquet")


@pytest.mark.slow
def test_the_same_key_as_text_and_as_a_number_goes_the_same_way() -> None:
    write_csv([[i, i, i % 3] for i in range(99)], ["id", "x", "price"])
    write_parquet(f"SELECT id::INTEGER AS id, x, price FROM '{gather.FOLDER}/t.csv'")
    csv, parquet = (load_sides(dataset=f"data/raw/t.{form}") for form in ("csv", "parquet"))
    assert csv == parquet


# folds


def read_lots() -> list[tuple[float, ...]]:
    """Return the training rows, and behind each its lot."""
    found = table.read(TRAIN)
    [(block, lots)] = found.blocks(f"CAST({table.LOT} AS BIGINT)")
    return [(*row, lot) for row, lot in zip(block.tolist(), lots.tolist(), strict=True)]


def test_folds_of_a_draw_follow_its_order_and_are_of_one_size() -> None:
    write_csv(make_houses(np.random.default_rng(2), 500), KEYED)
    load_sides(key=None, features=["size", "age"])
    drawn = np.random.RandomState(42).permutation(500)[100:]
    rows = np.array(make_houses(np.random.default_rng(2), 500))[drawn, 1:].astype(float)
    found = sorted(read_lots(), key=lambda row: row[-1])
    assert [row[:-1] for row in found] == [tuple(row) for row in rows.tolist()]
    [(_, fold)] = table.read(TRAIN).blocks(table.read(TRAIN).fold(5))
    assert np.bincount(fold).tolist() == [80] * 5


def test_a_fold_by_key_is_that_of_other_digits_of_the_md5() -> None:
    rows = make_houses(np.random.default_rng(3), 300)
    write_csv(rows, KEYED)
    load_sides()
    expected = {tuple(row[1:]): int(digest(f"42:{row[0]}")[8:12], 16) for row in rows}
    found = {row[:-1]: row[-1] for row in read_lots()}
    assert found == {row: expected[row] for row in found}
    assert len(found) > 200


# by order


def make_days(rng: np.random.Generator, n: int, days: int) -> list[list[object]]:
    when = (date(2020, 1, 1) + timedelta(days=int(day)) for day in rng.integers(0, days, n))
    return [[f"k{i:03}", day, i, i * i % 11] for i, day in enumerate(when)]


@pytest.mark.parametrize("key", ["id", pytest.param(None, marks=pytest.mark.slow)])
def test_the_last_rows_in_order_are_the_test_and_folds_are_stretches(key: str | None) -> None:
    rows = make_days(np.random.default_rng(4), 250, days=40)  # many of one day
    write_csv(rows[:99], ["id", "day", "x", "price"], "a.csv")
    write_csv(rows[99:], ["id", "day", "x", "price"], "b.csv")
    train, test = load_sides(key=key, order="day", features=["x"], test_size=0.3)
    ordered = [tuple(row[2:]) for row in sorted(rows, key=lambda row: (row[1], row[0]))]
    assert (train, test) == ({*ordered[:175]}, {*ordered[175:]})
    assert [*map(tuple, table.read(TEST).sample()[1])] == ordered[175:]
    lots = [row[-1] for row in sorted(read_lots(), key=lambda row: ordered.index(row[:-1]))]
    assert lots == sorted(lots)
    [(_, fold)] = table.read(TRAIN).blocks(table.read(TRAIN).fold(5))
    assert np.ptp(np.bincount(fold)) <= 1


@pytest.mark.parametrize(
    ("header", "order", "message"),
    [
        (["x", "price", "t"], "u", "column u missing"),
        (["x", "price", "t"], "t", "load.order: t is empty in 2 rows"),
        (["x", "price", "t"], "price", "must be different columns"),
    ],
)
def test_an_order_that_cannot_be_is_refused(header: list[str], order: str, message: str) -> None:
    write_csv([[i, i % 7, i if i > 1 else ""] for i in range(40)], header)
    with pytest.raises(InputError, match=message):
        load_sides(key=None, features=["x"], order=order)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["number", "text"])
def test_numbers_are_ordered_by_size_and_texts_by_their_letters(order: str) -> None:
    write_csv([[10 - i, f"t{i}", i, i % 7] for i in range(11)], ["number", "text", "x", "price"])
    _, test = load_sides(key=None, order=order, features=["x"])
    expected = [7, 8, 9] if order == "text" else [0, 1, 2]
    assert sorted(x for x, _ in test) == expected
