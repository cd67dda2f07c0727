"""A table of texts, dates, booleans and gaps goes through everything, beside scikit-learn."""

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import chdir, suppress
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import joblib
import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stages import evaluate, load, quantize, train
from stages.columns.inputs import parse
from stages.columns.sql import literal
from stages.predictor import document
from stages.predictor.rows import Scorer
from stages.project.cli import InputError
from stages.project.files import PLOTS, PREDICTOR, SCORES, UNQUANT_PARAMS
from tests.cars import HEADER, RAW, SEED, TABLE, Row, cars, checkout, write
from tests.conftest import output_of_c

ROWS = cars(600)
TEXTS, NUMBERS = ("brand", "fuel"), ("automatic", "registered", "seen", "mileage")
CREATE = f"CREATE TABLE cars (n INTEGER, {TABLE})"
MISSING = ("mean", "drop")
WITH_ABC = [*ROWS[:7], tuple("abc" if it == ROWS[7][6] else it for it in ROWS[7]), *ROWS[8:]]


def column(name: str, rows: Iterable[Row] = ROWS) -> list[Any]:
    return [row[HEADER.index(name)] for row in rows]


def run(folder: Path) -> dict[Path, bytes]:
    """Run the four stages, and return all that they make of the data."""
    with chdir(folder):
        for stage in (load, train, quantize, evaluate):
            stage.main()
        return files()


def files() -> dict[Path, bytes]:
    found = (path for name in ("models", "reports") for path in Path(name).rglob("*.*"))
    return {path: path.read_bytes() for path in found}


@pytest.fixture(scope="module", params=["mean", pytest.param("drop", marks=pytest.mark.slow)])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout that has a model, and is named by what it does about gaps."""
    folder = checkout(tmp_path_factory.mktemp("cars") / request.param, missing=request.param)
    with chdir(folder):
        write(ROWS)
        for stage in (load, train, quantize):
            stage.main()
    return folder


@pytest.fixture(scope="module")
def judged(made: Path) -> Path:
    """Return the same checkout with reports, which take longer."""
    with chdir(made):
        evaluate.main()
    return made


def predicted(folder: Path, *args: str, **env: str) -> tuple[list[str], str]:
    """Return the lines that predict prints, and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "stages.predict", *args],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ | env,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@cache
def doubles(folder: Path) -> dict[int, float]:
    """Return the prediction of each row that has one."""
    lines, _ = predicted(folder, str(RAW), "--only")
    kept = (n for n, row in enumerate(ROWS) if folder.name == "mean" or None not in row[1:7])
    return dict(zip(kept, map(float, lines[1:]), strict=True))


# the oracle


def days(moment: date) -> float:
    if not isinstance(moment, datetime):
        return float((moment - date(1970, 1, 1)).days)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86400


def number(value: Any) -> float:
    if value is None:
        return math.nan
    return days(value) if isinstance(value, date) else float(value)


def by_scikit_learn(missing: str) -> tuple[dict[str, float], np.ndarray, list[float]]:
    """Return weights and intercept by name, predictions of the test rows, and R² of both parts."""
    parts = train_test_split(ROWS, test_size=0.2, random_state=SEED)
    if missing == "drop":
        parts = [[row for row in rows if None not in row[1:7]] for rows in parts]
    texts = [np.array([[*map(str, column(name, rows))] for name in TEXTS]).T for rows in parts]
    numbers = [
        np.array([[*map(number, column(name, rows))] for name in NUMBERS]).T for rows in parts
    ]
    baselines = [Counter(levels).most_common(1)[0][0] for levels in texts[0].T]
    encoder = OneHotEncoder(drop=baselines, handle_unknown="ignore", sparse_output=False)
    encoder.fit(texts[0])
    imputer = SimpleImputer(add_indicator=True).fit(numbers[0])
    imputer.statistics_ = np.array([float(f"{mean:.6g}") for mean in imputer.statistics_])
    X, X_test = (
        np.column_stack([encoder.transform(some), imputer.transform(others)])
        for some, others in zip(texts, numbers, strict=True)
    )
    y, y_test = (np.array(column("price", rows)) for rows in parts)
    scaler = StandardScaler().fit(X)
    model = LinearRegression().fit(scaler.transform(X), y)
    coef = model.coef_ / scaler.scale_
    names = [
        f"{name} is missing" if level == "None" else f"{name} = {level}"
        for name, baseline, levels in zip(TEXTS, baselines, encoder.categories_, strict=True)
        for level in levels
        if level != baseline
    ]
    names += [*NUMBERS, *(f"{name} is missing" for name in NUMBERS if missing == "mean")]
    weights = dict(zip(names, coef, strict=True)) | {"": model.intercept_ - coef @ scaler.mean_}
    predictions = [model.predict(scaler.transform(part)) for part in (X, X_test)]
    return weights, predictions[1], [*map(r2_score, (y, y_test), predictions)]


@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_the_float_model_is_that_of_scikit_learn(made: Path) -> None:
    weights, _, _ = by_scikit_learn(made.name)
    stored = joblib.load(made / UNQUANT_PARAMS)
    features = document.load(made / PREDICTOR).schema.features
    found = dict(zip([*features, ""], [*stored["coef"], stored["intercept"]], strict=True))
    assert found == pytest.approx(weights, rel=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_predictions_and_scores_are_those_of_scikit_learn(judged: Path) -> None:
    _, predictions, r2 = by_scikit_learn(judged.name)
    shown = duckdb.read_csv(str(judged / PLOTS / "predictions.csv")).fetchnumpy()
    assert shown["float"] == pytest.approx(predictions, rel=1e-9, abs=0.5e-6)
    scores = json.loads((judged / SCORES).read_text(encoding="utf-8"))["float"]
    assert [scores[part]["r2"] for part in ("train", "test")] == pytest.approx(r2, abs=0.51e-6)


@pytest.mark.slow
def test_the_samples_are_predicted_as_recorded(judged: Path) -> None:
    lines, _ = predicted(judged)
    assert lines[-1] == "all 10 predictions are those that the pipeline recorded"


# forms


@pytest.mark.slow
@pytest.mark.parametrize("form", ["semicolons", "parquet"])
def test_every_form_gives_the_same_bytes(judged: Path, form: str, tmp_path: Path) -> None:
    other = checkout(tmp_path / form, missing=judged.name)
    with chdir(other):
        write(ROWS, form)
    made = run(other)
    with chdir(judged):
        assert made == files()
    assert {PREDICTOR, SCORES} < made.keys()


@pytest.mark.parametrize("form", ["semicolons", pytest.param("parquet", marks=pytest.mark.slow)])
def test_every_form_is_predicted_alike(made: Path, form: str) -> None:
    write(ROWS, form, made / "other")
    there, here = predicted(made, "other", "--only"), predicted(made, str(RAW), "--only")
    assert there[0] == here[0]
    said = "other: read with decimal commas\n" if form == "semicolons" else ""
    assert there[1] == said + here[1].replace(str(RAW), "other")


@pytest.mark.parametrize("form", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_the_time_zone_of_the_machine_changes_nothing(made: Path, form: str) -> None:
    write(ROWS, form, made / "other")
    here, there = (
        predicted(made, "other", "--only", TZ=zone) for zone in ("UTC", "America/New_York")
    )
    assert here == there


def test_what_training_has_not_seen_is_counted(made: Path) -> None:
    learned, _ = train_test_split(ROWS, test_size=0.2, random_state=SEED)
    kept = [row for row in ROWS if made.name == "mean" or None not in row[1:7]]
    learned = [row for row in learned if row in kept]
    levels = {name: {*column(name, learned), None} for name in TEXTS}
    ranges = {name: [x for x in map(number, column(name, learned)) if x == x] for name in NUMBERS}
    outside = [
        row
        for row in kept
        if any(row[HEADER.index(name)] not in seen for name, seen in levels.items())
        or any(
            not (math.isnan(x) or min(seen) <= x <= max(seen))
            for name, seen in ranges.items()
            for x in [number(row[HEADER.index(name)])]
        )
    ]
    assert "Trabant" in column("brand", outside)
    _, said = predicted(made, str(RAW))
    assert f"{len(outside)} of {len(kept)} rows outside the training range" in said
    _, said = predicted_rows(made, [row for row in kept if row[1] == "Trabant"] * 7)
    assert "7 of 7 rows" in said
    assert "brand, in levels that training has not seen" in said


def predicted_rows(folder: Path, rows: Sequence[Row]) -> tuple[list[str], str]:
    write(rows, path=folder / "rows")
    return predicted(folder, "rows", "--only")


def test_a_gap_is_left_out_and_counted_or_filled(made: Path) -> None:
    gaps = sum(None in row[1:7] for row in ROWS)
    lines, said = predicted(made, str(RAW), "--only")
    assert len(lines) - 1 == (len(ROWS) - gaps if made.name == "drop" else len(ROWS))
    assert (f"left out {gaps} rows with a gap" in said) == (made.name == "drop")


def test_predict_refuses_a_value_that_it_cannot_read(made: Path) -> None:
    write(WITH_ABC, path=made / "bad")
    command = [sys.executable, "-m", "stages.predict", "bad"]
    done = subprocess.run(command, cwd=made, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"row 8 below the header: mileage is 'abc'" in done.stderr
    assert b"(1 bad row in all)" in done.stderr


@pytest.mark.parametrize("missing", MISSING)
def test_load_refuses_a_value_that_it_cannot_read(missing: str, tmp_path: Path) -> None:
    with chdir(checkout(tmp_path / "bad", missing=missing)):
        write(WITH_ABC)
        with pytest.raises(InputError, match="row 8 below the header: mileage is 'abc'"):
            load.main()


# elsewhere


def typed(rows: Sequence[Row]) -> list[list[Any]]:
    """Return rows as engines take them: dates as text."""
    return [
        [n, *(str(it) if isinstance(it, date) else it for it in row)] for n, row in enumerate(rows)
    ]


def by_row(rows: Iterable[Sequence[Any]]) -> dict[int, float]:
    return {int(row[0]): float(row[-1]) for row in rows if row[-1] not in (None, "")}


def test_duckdb_has_the_bits_of_predict(made: Path) -> None:
    write(ROWS, "parquet", made / "cars.parquet")
    for table in (f"read_csv({literal(str(made / RAW))})", literal(str(made / "cars.parquet"))):
        lines, _ = predicted(made, "--sql", table)
        found = duckdb.execute(f"SELECT prediction FROM ({' '.join(lines)})").fetchall()
        assert by_row((n, *row) for n, row in enumerate(found)) == doubles(made)


def test_rows_of_json_have_the_bits_of_predict(made: Path) -> None:
    scorer, found = Scorer(document.load(made / PREDICTOR)), {}
    for n, row in enumerate(ROWS):
        values = [str(it) if isinstance(it, date) else it for it in row]
        with suppress(InputError):
            found[n] = scorer.predict(dict(zip(HEADER, values, strict=True)), "row").value
    assert found == doubles(made)


def test_sqlite_has_the_bits_of_predict(made: Path) -> None:
    lines, _ = predicted(made, "--sql", "cars", "--dialect", "sqlite")
    connection = sqlite3.connect(":memory:")
    connection.execute(CREATE)
    marks = ", ".join("?" * (1 + len(HEADER)))
    connection.executemany(f"INSERT INTO cars VALUES ({marks})", typed(ROWS))
    found = connection.execute(f"SELECT n, prediction FROM ({' '.join(lines)})").fetchall()
    assert by_row(found) == doubles(made)


@pytest.mark.slow
def test_postgres_has_the_bits_of_predict(made: Path, psql: Callable[[str], str]) -> None:
    lines, _ = predicted(made, "--sql", "cars", "--dialect", "postgres")
    rows = ", ".join(
        f"({', '.join('NULL' if it is None else literal(str(it)) for it in row)})"
        for row in typed(ROWS)
    )
    text = psql(
        f"DROP TABLE IF EXISTS cars; {CREATE}; INSERT INTO cars VALUES {rows};"
        f" SELECT n, prediction FROM ({' '.join(lines)}) AS q;"
    )
    assert by_row(line.split(",") for line in text.splitlines()) == doubles(made)


@pytest.mark.slow
def test_c_has_the_bits_of_predict(made: Path, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    lines, _ = predicted(made, "--c")
    (tmp_path / "model.h").write_text("\n".join(lines), encoding="utf-8")
    inputs = document.load(made / PREDICTOR).schema.inputs
    calls = ""
    for row in ROWS:
        pairs = zip(HEADER, row, strict=True)
        values = {name: str(it) if isinstance(it, date) else it for name, it in pairs}
        numbers = (each.number(parse(values[each.column], each.kind)) for each in inputs)
        cells = ", ".join("NAN" if x != x else x.hex() for x in numbers)
        calls += f'    printf("%.17g\\n", predict((const double[]){{{cells}}}));\n'
    (tmp_path / "main.c").write_text(
        '#include <math.h>\n#include <stdio.h>\n#include "model.h"\n\nint main(void)\n{\n'
        + calls
        + "    return 0;\n}\n"
    )
    output = output_of_c(tmp_path)
    found = enumerate(map(float, output.split()))
    assert {n: y for n, y in found if not math.isnan(y)} == doubles(made)


# keys


@pytest.mark.slow
@pytest.mark.parametrize("missing", MISSING)
def test_a_keyed_table_that_is_cut_and_shuffled_gives_the_same_bytes(
    missing: str, tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(len(ROWS)).tolist()
    parts = {"whole": [ROWS], "cut": [[ROWS[j] for j in order[i::5]] for i in range(5)]}
    found = {}
    for name, tables in parts.items():
        folder = checkout(tmp_path / name, dataset="data/raw/*", key="vin", missing=missing)
        for i, rows in enumerate(tables):
            write(rows, path=folder / f"data/raw/{i}.csv")
        found[name] = run(folder)
    assert found["whole"] == found["cut"]
    assert PREDICTOR in found["cut"]
