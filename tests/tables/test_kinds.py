"""CSV as people have it: what its columns hold, and how it is read; pandas says what is right."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.columns import engine
from stages.project import params
from stages.project.cli import InputError
from stages.tables import gather
from tests.conftest import write_parameters

pytestmark = pytest.mark.usefixtures("own_folder")
NA = ["NA", "?", "-999"]


def read(text: str, **wanted: Any) -> tuple[dict[str, str], pd.DataFrame]:
    """Gather a file; return what its columns hold, and their values."""
    (gather.FOLDER / "t.csv").write_text(text, encoding="utf-8")
    write_parameters(**{"target": "price", "na": NA} | wanted)
    config = params.read().load
    Path("scratch").mkdir(exist_ok=True)
    with engine.connect("t.csv") as here:
        found = gather.gather(config, Path("scratch"), here)
        casts = {"date": "CAST({} AS TIMESTAMP)", "boolean": "CAST({} AS DOUBLE)"}
        values = [
            f'{casts.get(kind, "{}").format(found.column(name))} AS "{name}"'
            for name, kind in found.kinds.items()
        ]
        columns = here.connection.execute(found.rows.select(values)).df()
    return {name: found.readings[name] or kind for name, kind in found.kinds.items()}, columns


def column(*cells: str, delimiter: str = "\t") -> str:
    """Return a file with a column x and a price."""
    rows = (f"{cell}{delimiter}{i * i}" for i, cell in enumerate(cells))
    return f"x{delimiter}price\n" + "".join(f"{row}\n" for row in rows)


@pytest.mark.parametrize(
    ("cells", "reading", "options"),
    [
        (["1,479", "850", "2,100"], "1,234.5", {"thousands": ","}),
        (["1,479.25", "$850.5", "(3)"], "1,234.5", {"thousands": ","}),
        (["0,5", "1.234,5", "7"], "1.234,5", {"decimal": ",", "thousands": "."}),
        (["0,5", "12", "1,25"], "1.234,5", {"decimal": ","}),
        (["1 479", "850", "2 100.5"], "1,234.5", {"thousands": " "}),
        (["1", "NA", "2.5", "", "?"], "number", {"na_values": "?"}),
        (["007", "7", "NA", "70"], "number", {}),
        (["TRUE", "false", "NA", "True"], "boolean", {}),
    ],
)
def test_numbers_are_those_that_pandas_reads(
    cells: Sequence[str], reading: str, options: dict[str, Any]
) -> None:
    kinds, values = read(column(*cells), missing="drop")
    assert kinds == {"x": reading}
    text = column(*cells)
    for old, new in (("$", ""), ("(3)", "-3")):
        text = text.replace(old, new)
    expected = pd.read_csv(io.StringIO(text), sep="\t", **options)["x"].astype(float)
    np.testing.assert_array_equal(values["x"], expected)


@pytest.mark.parametrize(
    ("cells", "reading", "format_"),
    [
        (["31.12.2020", "1.2.2020", "NA"], "31.12.2020", "%d.%m.%Y"),
        (["12/31/2020", "1/2/2020", "?"], "12/31/2020", "%m/%d/%Y"),
        (["1/2/2020", "13/2/2020", ""], "31.12.2020", "%d/%m/%Y"),
        (["12/31/68", "1/2/69", ""], "12/31/2020", "%m/%d/%y"),
        (["2020/12/31", "2020/1/2", ""], "date", "%Y/%m/%d"),
        (["31.12.2020 23:59", "1.2.2020 0:00", ""], "31.12.2020", "%d.%m.%Y %H:%M"),
    ],
)
def test_dates_are_those_that_pandas_reads(
    cells: Sequence[str], reading: str, format_: str
) -> None:
    kinds, values = read(column(*cells), missing="drop")
    assert kinds == {"x": reading}
    expected = pd.to_datetime(pd.Series(cells).replace(["NA", "?", ""], None), format=format_)
    np.testing.assert_array_equal(values["x"], expected)


def test_day_or_month_first_must_be_said_where_all_rows_leave_a_doubt() -> None:
    doubtful = column("1/2/2020", "3/4/2020", "5/5/2020")
    with pytest.raises(InputError, match="x has dates whose day or month may come first"):
        read(doubtful)
    assert read(doubtful, dates="day_first")[0] == {"x": "31.12.2020"}
    assert read(doubtful, dates="month_first")[0] == {"x": "12/31/2020"}
    assert read(column("1/1/2020", "5/5/2020", "6/6/2020"))[0] == {"x": "31.12.2020"}  # the same


SAID = "is read as 1,234.5: other columns do not tell it from 1.234,5"


@pytest.mark.parametrize(
    ("other", "expected", "is_said"),
    [("2", 1479.0, True), ("0,5", 1.479, False), ("0.5", 1479.0, False), ("1,5", 1.479, False)],
)
def test_a_comma_before_three_digits_is_what_the_rest_of_the_file_has(
    other: str, expected: float, is_said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("1,479", other, "1"), ("850", other, "2"), ("2,100", "3", "4")]
    text = "x\ty\tprice\n" + "".join("\t".join(row) + "\n" for row in rows)
    assert read(text)[1]["x"][0] == expected
    assert (SAID in capsys.readouterr().err) == is_said


@pytest.mark.parametrize(("other", "expected"), [("2", 1.479), ("0,5", 1479.0), ("0.5", 1.479)])
def test_a_point_before_three_digits_is_one_unless_the_file_has_decimal_commas(
    other: str, expected: float
) -> None:
    rows = [("1.479", other, "1"), ("850", other, "2"), ("2.100", "3", "4")]
    text = "x\ty\tprice\n" + "".join("\t".join(row) + "\n" for row in rows)
    assert read(text)[1]["x"][0] == expected


def test_thousands_with_a_point_are_known_in_binary_too() -> None:
    rows = (f"{k // 1000}.{k % 1000:03d}\t{k % 7},5\t{k}\n" for k in range(1000, 9999, 7))
    _, values = read("x\ty\tprice\n" + "".join(rows))
    assert values["x"].tolist() == [*range(1000, 9999, 7)]


def test_gaps_are_told_with_what_marks_them_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    text = "x,city,price\n1,NA,1\n-999,Rome,2\n-999.0,NA,3\n?,Oslo,4\n5,?,5\n"
    kinds, values = read(text, missing="mean")
    assert kinds == {"x": "number", "city": "text"}
    assert values["x"].isna().tolist() == [False, True, True, True, False]
    assert values["city"].dropna().tolist() == ["Rome", "Oslo"]
    told = "x has '?' in 1 row, city has '?' in 1 row, city has 'NA' in 2 rows"
    assert told in capsys.readouterr().err
    assert read(text, na=[], features=["city"])[1]["city"].tolist() == [
        "NA",
        "Rome",
        "NA",
        "Oslo",
        "?",
    ]


def test_a_few_values_that_do_not_fit_are_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    cells = [str(i) for i in range(300)]
    cells[7], cells[9], cells[11] = "abc", "12x", "y"
    message = (
        r"^data/raw/t.csv: row 8 below the header: x is 'abc', must be a finite number.*"
        r"\(3 bad values in all, such as 'abc', '12x', 'y'\); list gaps in load.na, or a column"
        r" of texts in load.categories, or leave the column out of load.features$"
    )
    with pytest.raises(InputError, match=message):
        read(column(*cells))
    cells[13] = "z"  # more than one in a hundred
    assert read(column(*cells))[0] == {"x": "text"}
    assert "x is taken for text: 4 of 300 values are no numbers" in capsys.readouterr().err


def test_numbers_as_people_write_them_have_a_range_too() -> None:
    with pytest.raises(InputError, match=r"row 2 below the header: x is 1e\+101, must be a finite"):
        read(column("1,5", "1,0e101", "2,5"))


def test_categories_are_texts_as_they_are_written() -> None:
    text = column("02139", "2139", "007", "02139")
    assert read(text, categories=["x"])[1]["x"].tolist() == ["02139", "2139", "007", "02139"]
    with pytest.raises(InputError, match=r"load\.categories must list features, got y; found x"):
        read(text, categories=["y"])


@pytest.mark.slow
def test_rows_keep_their_order_where_texts_are_read() -> None:
    n, names = 100_000, [f"t{j}" for j in range(20)]
    rows = (f"{i},${i},{','.join(f'{i % j}' + 'a' for j in range(3, 23))},{i}\n" for i in range(n))
    na = [f"none {i}" for i in range(40)]  # so long a list that DuckDB would make it a join
    _, values = read(f"x,m,{','.join(names)},price\n" + "".join(rows), na=na)
    assert (values["m"] == np.arange(n)).all()
    assert (values["x"] == np.arange(n)).all()
