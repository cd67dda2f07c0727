"""Rows of JSON in plain Python, by hand and beside DuckDB. `test_same_bits` has more numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stages.columns.inputs import Input, parse
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


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@given(MOMENTS, st.sampled_from([" ", "T"]), st.sampled_from(["", "Z", "+01", "-12:30"]))
def test_days_are_those_of_duckdb(moment: datetime, middle: str, zone: str) -> None:
    text = f"{moment.replace(tzinfo=None).isoformat(middle)}{zone}"
    duckdb.execute("SET TimeZone = 'UTC'")
    query = f"SELECT {Input('d', 'date').sql('CAST(? AS TIMESTAMPTZ)')}"
    [(days,)] = duckdb.execute(query, [text]).fetchall()
    assert parse(text, "date") == days
