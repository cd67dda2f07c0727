"""A table of used cars, made up: texts, dates, booleans, gaps, and levels that are rare.

`python -m tests.cars 5000` prints so many rows as CSV.
"""

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from math import nan
from pathlib import Path
from typing import Any, TextIO

import duckdb
import numpy as np

Row = tuple[Any, ...]
# as dealers write them: accents, quotes, a backslash, and names that differ in case alone
BRANDS = {
    "Volkswagen": 0.0,
    "Škoda": -900.0,
    "Citroën": -1500.0,
    'L\'Auto "S"': 800.0,
    "back\\slash": 300.0,
    "volkswagen": -200.0,
    "东风": -3000.0,
    "Volvo": 2500.0,
}
FUELS = {"petrol": 0.0, "diesel": 700.0, "electric": 5000.0}
KINDS = {  # of the columns to learn from
    "brand": "text",
    "fuel": "text",
    "automatic": "boolean",
    "registered": "date",
    "seen": "date",
    "mileage": "number",
}
TYPES = ("TEXT", "TEXT", "BOOLEAN", "DATE", "TIMESTAMP WITH TIME ZONE", "DOUBLE PRECISION")
HEADER = ("vin", *KINDS, "note", "price")
GAPS = 0.02  # of each column but vin and price
CARS = "data/raw/cars"
RAW = Path(CARS)  # its content says what it is
SEED = 3  # with which the row of a level of its own is a test row
PARAMETERS = {"dataset": CARS, "target": "price", "missing": "mean", "seed": SEED}


def cars(n: int, seed: int = 0, gaps: float = GAPS) -> list[Row]:
    """Make n rows; the last of them has a brand of its own, and None is a gap."""
    rng = np.random.default_rng(seed)
    shares = [0.34, 0.2, 0.14, 0.1, 0.08, 0.06, 0.05, 0.03]
    rows = []
    for i in range(n):
        brand = str(rng.choice([*BRANDS], p=shares))
        fuel = str(rng.choice([*FUELS], p=[0.5, 0.4, 0.1]))
        automatic = bool(rng.random() < 0.3)
        age = int(rng.integers(0, 5000))  # days
        mileage = round(float(rng.gamma(2, 20)) * age / 2, 1)
        registered = date(2025, 12, 31) - timedelta(days=age)
        zone = timezone(timedelta(hours=int(rng.integers(-2, 3))))
        seen = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(rng.integers(0, 9_000_000)))
        price = 22000 + BRANDS[brand] + FUELS[fuel] + 1200 * automatic - 2.1 * age
        price += -0.03 * mileage + float(rng.normal(0, 800))
        values = [brand, fuel, automatic, registered, seen.astimezone(zone), mileage, None]
        if i == n - 1:
            values[0] = "Trabant"
        kept = [None if rng.random() < gaps else value for value in values]
        rows.append((f"VIN{i:07}", *kept, round(price, 2)))
    return rows


def number(value: Any) -> float:
    """Return a value as a number, a date as days since 1970 in UTC; NaN for a gap."""
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)) / timedelta(days=1)
    return nan if value is None else float(value)


def text_of(value: Any) -> Any:
    """Return a value as CSV has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, date) else value


def write_csv(rows: Iterable[Row], file: TextIO) -> None:
    csv.writer(file, lineterminator="\n").writerows([HEADER, *(map(text_of, row) for row in rows)])


def write(rows: Sequence[Row], form: str = "csv", path: Path = RAW) -> None:
    """Write rows as CSV, or as Parquet with real types."""
    source = path.with_name("as.csv") if form == "parquet" else path
    with source.open("w", encoding="utf-8", newline="") as file:
        write_csv(rows, file)
    if form == "parquet":
        types = dict(zip(HEADER, ("TEXT", *TYPES, "TEXT", "DOUBLE"), strict=True))
        duckdb.read_csv(str(source), dtype=types).write_parquet(str(path))
        source.unlink()


if __name__ == "__main__":
    write_csv(cars(int(sys.argv[1])), sys.stdout)
