"""A table of used cars, made up: texts, dates, booleans, gaps, and levels that are rare.

And a checkout of the stages to learn from it.
"""

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import yaml

from stages import predict
from tests.conftest import csv_of

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
HEADER = ("vin", "brand", "fuel", "automatic", "registered", "seen", "mileage", "note", "price")
GAPS = 0.02  # of each column but vin and price
TYPES = ("TEXT", "TEXT", "TEXT", "BOOLEAN", "DATE", "TIMESTAMP WITH TIME ZONE", "DOUBLE PRECISION")
TABLE = ", ".join(map(" ".join, zip(HEADER, (*TYPES, "TEXT", "DOUBLE PRECISION"), strict=True)))
RAW = Path("data/raw/cars")  # its content says what it is
SEED = 3  # with which the row of a level of its own is a test row


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


def text_of(value: Any) -> Any:
    """Return a value as CSV has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, date) else value


def write(rows: Sequence[Row], form: str = "csv", path: Path = RAW) -> None:
    """Write rows as CSV, with semicolons and decimal commas, or as Parquet with real types."""
    texts = [[text_of(value) for value in row] for row in rows]
    match form:
        case "csv":
            path.write_text(csv_of(HEADER, *texts), encoding="utf-8")
        case "semicolons":
            commas = [
                [str(it).replace(".", ",") if isinstance(it, float) else it for it in row]
                for row in texts
            ]
            path.write_text(csv_of(HEADER, *commas, delimiter=";"), encoding="utf-8")
        case "parquet":
            write(rows, path=path.with_name("as.csv"))
            with duckdb.connect() as connection:
                connection.execute(f"CREATE TABLE cars ({TABLE})")
                connection.execute("COPY cars FROM ? (HEADER)", [str(path.with_name("as.csv"))])
                connection.execute("COPY cars TO ? (FORMAT parquet)", [str(path)])
            path.with_name("as.csv").unlink()


def checkout(folder: Path, **changed: Any) -> Path:
    """Make a checkout of our modules with parameters of its own."""
    (folder / RAW).parent.mkdir(parents=True)
    (folder / "stages").symlink_to(Path(predict.__file__).parent)
    section = {"dataset": str(RAW), "target": "price", "features": None, "unit": "€", "key": None}
    parameters = {
        "load": {**section, "missing": "mean", "levels": 50, "test_size": 0.2, "seed": SEED}
        | changed,
        "quantize": {"bits": 8, "rounding": "nearest"},
        "evaluate": {"samples": 10},
        "gate": {"min_r2": 0.5, "max_r2_drop": 0.001},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    return folder


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([HEADER, *cars(int(sys.argv[1]))])
