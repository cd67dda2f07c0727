"""Rows of JSON in plain Python, by hand and beside DuckDB. `test_same_bits` has more numbers."""

from collections.abc import Mapping
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from stages.columns.inputs import Input, parse
from stages.columns.source import Source
from stages.predictor.rows import Scorer
from stages.project.cli import InputError
from tests.conftest import CAR, EXAMPLE, ROW


# worked by hand: codes 4, 5, 6, 7 and 0 of 3 bits stand for 1, 3, 5, 7 and -7
@pytest.mark.parametrize(
    ("row", "prediction"),
    [
        (ROW, 5 + 1 + 0 + 5 / 2 + 7 * 30 / 8 - 7 * 2 / 4),
        (ROW | {"fuel": ""}, 5 + 0 + 6 + 5 / 2 + 7 * 30 / 8 - 7 * 2 / 4),
        (ROW | {"seen": "1970-01-31T12:00Z", "colour": []}, 5 + 1 + 2.5 + 7 * 30.5 / 8 - 3.5),
        (ROW | {"seen": "1970-01-31 01:00+01:00"}, 5 + 1 + 2.5 + 7 * 30 / 8 - 3.5),
        ({"fuel": None, "new": None, "seen": None, "km": None}, 11 + 5 / 8 + 17.5 - 7 * 1.5 / 4),
    ],
)
def test_each_kind_of_column(row: Mapping[str, Any], prediction: float) -> None:
    assert Scorer(CAR).predict(row, "row 1").value == prediction


def test_what_training_has_not_seen_is_told_by_column() -> None:
    row = {"fuel": "coal", "new": True, "seen": "2020-12-31", "km": 3}
    assert Scorer(CAR).predict(row, "row 1").warnings == {
        "fuel": "fuel is 'coal', which training has not seen",
        "seen": "seen is 2020-12-31, training has 1970-01-11 to 1970-02-10",
        "km": "km is 3, training has 0.5 to 2",
    }
    assert not Scorer(CAR).predict(ROW, "row 1").warnings
    near = Scorer(CAR).predict(ROW | {"km": 2.000000001}, "row 1").warnings
    assert near == {"km": "km is 2.000000001, training has 0.5 to 2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"km": "3"}, "km is '3', must be a finite number"),
        ({"km": True}, "km is True, must be a finite number"),
        ({"km": 10**400}, "km is .*, must be a finite number"),
        ({"km": float("inf")}, "km is inf, must be a finite number"),
        ({"new": 1}, "new is 1, must be true or false"),
        ({"fuel": 1}, "fuel is 1, must be a text"),
        ({"seen": 1}, "seen is 1, must be a date such as"),
        ({"seen": "2021-02-29"}, "seen is '2021-02-29', must be a date such as"),
        ({"seen": "20210101"}, "must be a date such as"),
        ({"seen": "0001-01-01 00:00+14"}, "must be a date such as"),
        ({"seen": ""}, "must be a date such as"),
        ({"km": 1.7e308}, "the prediction is too large for a number"),
    ],
)
def test_a_value_of_another_kind_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^row 7: (.* )?{message}"):
        Scorer(CAR).predict(ROW | change, "row 7")


def test_a_column_that_is_not_there_and_a_gap_without_a_filling_are_refused() -> None:
    with pytest.raises(InputError, match="row 2: column km is missing"):
        Scorer(CAR).predict({key: ROW[key] for key in ("fuel", "new", "seen")}, "row 2")
    for missing in ("fail", "drop"):
        with pytest.raises(InputError, match="row 2: a is empty, must be a finite number"):
            Scorer(replace(EXAMPLE, missing=missing)).predict({"a": None, 'b "é"': 1}, "row 2")


def two(least: int, most: int) -> st.SearchStrategy[str]:
    """Draw a number, or one beside the range, with or without its zero."""
    written = st.sampled_from(("{}", "{:02}"))
    return st.builds(str.format, written, st.integers(least - 1, most + 1).map(abs))


YEARS = st.sampled_from(("0000", "0001", "1582", "1969", "1970", "2024", "9999", "999", "02024"))
TIMES = (
    two(0, 23),
    two(0, 59),
    st.just("") | two(0, 59).map(":{}".format),
    st.just("") | st.from_regex(r"\.\d{0,12}", fullmatch=True),
    st.sampled_from(("", "Z", " UTC", "UTC", " Z", "z"))
    | st.from_regex(r" ?[+-]([01]\d|2\d|9)(:?[0-6]\d)?", fullmatch=True),
)
TIME = st.just("") | st.builds(" {}:{}{}{}{}".format, *TIMES)
DATE = st.builds("{}-{}-{}".format, YEARS, two(1, 12), two(1, 31))
MOMENT = st.builds(
    lambda *parts: parts[0] + parts[1].replace(" ", parts[2], 1), DATE, TIME, st.sampled_from(" T")
)


@pytest.mark.slow
@given(st.lists(MOMENT | st.text("0123456789-+:. TZUC", max_size=12), min_size=1))
@example(["2026-02-16T23:59:59.1234567Z", "1926-02-16T23:59:59.9999999+0100"])
@example(["2026-02-16 23:59:59 UTC", "2026-2-6 1:2:3.5", "0000-01-01", "0001-01-01 00:00+01"])
@example(
    ["2026-02-16 24:00", "9999-12-31 23:00-02", "2026-02-16 12:00 Europe/Berlin", "2026-02-30"]
)
def test_a_text_is_the_same_date_to_the_server_and_to_duckdb_or_none(texts: list[str]) -> None:
    source = Source("t", "csv", "(SELECT unnest(?))", ["d"], ["VARCHAR"])
    x = Input("d", "date").sql(lambda name: source.cast(name, "date"))
    query = f"SELECT {x} FROM {source.relation}"
    duckdb.execute("SET TimeZone = 'UTC'")
    days = [number for (number,) in duckdb.execute(query, [texts]).fetchall()]
    assert days == [to_days(text) for text in texts]


def to_days(text: str) -> float | str | None:
    try:
        return parse(text, "date")
    except (ValueError, OverflowError):
        return None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1970-01-02T12:00:00.0000009Z", 1.5),  # digits behind the sixth are cut off
        ("1970-1-2 1:30+0130", 1.0),
        ("1970-01-01 06:00:00 UTC", 0.25),
        ("1969-12-31", -1.0),
    ],
)
def test_dates_as_others_write_them(text: str, day: float) -> None:
    assert to_days(text) == day
