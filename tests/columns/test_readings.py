"""Numbers and dates as people write them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.columns.engine import DuckDB, connect
from stages.columns.readings import READINGS

MARKS = {
    "1,234.5": (",", "."),
    "1.234,5": (".", ","),
    "1,234.5 %": (",", "."),
    "1.234,5 %": (".", ","),
}
AROUND = [
    ("{}", 1),
    ("${}", 1),
    ("{} €", 1),
    ("EUR {}", 1),
    ("-{}", -1),
    ("-£{}", -1),
    ("({})", -1),
]
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def on() -> Iterator[DuckDB]:
    with connect("t") as on:
        yield on


def read(text: str, reading: str, on: DuckDB) -> Any:
    x = READINGS[reading].sql("x")
    x = f"epoch_us({x})" if READINGS[reading].kind == "date" else x
    [(value,)] = on.connection.execute(f"SELECT {x} FROM (SELECT ? AS x)", [text]).fetchall()
    return value


@EXAMPLES
@given(
    whole=st.integers(0, 10**12),
    places=st.integers(0, 4),
    group=st.sampled_from(["", "as the reading", "'", " ", "\xa0"]),
    reading=st.sampled_from(sorted(MARKS)),
    around=st.sampled_from(AROUND),
)
def test_a_number_comes_back_as_it_was_formatted(
    whole: int, places: int, group: str, reading: str, around: tuple[str, int], on: DuckDB
) -> None:
    mark, point = MARKS[reading]
    pattern, sign = ("{}%", 1) if "%" in reading else around
    value = whole / 10**places
    text = f"{value:,.{places}f}".replace(".", point if point != "," else "P")
    text = text.replace(",", mark if group == "as the reading" else group).replace("P", point)
    assert read(pattern.format(text), reading, on) == sign * value


def test_powers_of_ten_may_have_a_comma(on: DuckDB) -> None:
    assert [read(text, "1.234,5", on) for text in ("2,5E-05", "-1e3")] == [2.5e-5, -1e3]


@pytest.mark.slow
@EXAMPLES
@given(
    day=st.dates(date(1969, 1, 1), date(2068, 12, 31)),
    mark=st.sampled_from("./-"),
    is_short=st.booleans(),
    is_padded=st.booleans(),
    time=st.sampled_from([("", 0), (" 14:05", 845), (" 2:05 PM", 845), (" 00:07:00", 7)]),
)
def test_a_date_comes_back_as_it_was_formatted(
    day: date, mark: str, is_short: bool, is_padded: bool, time: tuple[str, int], on: DuckDB
) -> None:
    mark = "/" if is_short and mark == "-" else mark  # else the year could come first
    first, second = (f"{x:02d}" if is_padded else str(x) for x in (day.day, day.month))
    year = f"{day.year % 100:02d}" if is_short else str(day.year)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=time[1])
    for reading, parts in (("31.12.2020", (first, second)), ("12/31/2020", (second, first))):
        found = read(mark.join([*parts, year]) + time[0], reading, on)
        assert found == moment.timestamp() * 1e6


@pytest.mark.parametrize(
    ("reading", "texts"),
    [
        ("1234.5", ["1,234", "$5", "5%", "1_000", "+-1", "", "5 000"]),
        ("1,234.5", ["ABC123", "1,23,456", "12,34", "1,2345", "0,123", "1.2.3", "$", "(", "()"]),
        (
            "1,234.5",
            ["--5", "+-5", "+$-5", "5%", "%", "", "five", "1_000", "(5", "5)", "$5€6", "1e"],
        ),
        ("1.234,5", ["12.34", "1.2345", "0.123", "1,2,3", "1.234.5"]),
        ("1,234.5 %", ["5", "%", "5%%", "$5%"]),
        ("31.12.2020", ["31.02.2020", "2020-12-31", "1.2.202", "1.2", "12.2020", "1/2/20200", "x"]),
        ("31.12.2020", ["10-01-31", "01.01.0000"]),
        ("12/31/2020", ["31/12/2020", "12/31", "12/31/2020x", ""]),
        ("2020-12-31", ["2020-12", "2020", "31.12.2020", "2020-13-01", "20201231", ""]),
    ],
)
def test_what_does_not_fit_is_none(reading: str, texts: list[str], on: DuckDB) -> None:
    assert {text: read(text, reading, on) for text in texts} == dict.fromkeys(texts)


@pytest.mark.parametrize("text", ["2020-12-31", "2020/12/31", "2020.12.31", "2020-12-31T00:00Z"])
def test_years_may_come_first(text: str, on: DuckDB) -> None:
    moment = datetime(2020, 12, 31, tzinfo=UTC)
    assert read(text, "2020-12-31", on) == moment.timestamp() * 1e6
