"""A table of texts, dates, booleans and gaps goes through everything, beside scikit-learn."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import chdir
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
from stages.predictor import document
from stages.project.files import PLOTS, PREDICTOR, SCORES, UNQUANT_PARAMS
from tests.cars import HEADER, KINDS, PARAMETERS, RAW, SEED, Row, cars, number, write
from tests.conftest import make_checkout, run

ROWS = cars(600)
TEXTS = [name for name, kind in KINDS.items() if kind == "text"]
NUMBERS = [name for name, kind in KINDS.items() if kind != "text"]


def column(name: str, rows: Iterable[Row] = ROWS) -> list[Any]:
    return [row[HEADER.index(name)] for row in rows]


def checkout(folder: Path, **changed: Any) -> Path:
    return make_checkout(folder, **PARAMETERS | changed)


def run_all(folder: Path) -> dict[Path, bytes]:
    """Run the four stages, and return all that they make of the data."""
    with chdir(folder):
        for stage in (load, train, quantize, evaluate):
            stage.main()
        paths = [path for name in ("models", "reports") for path in Path(name).rglob("*.*")]
        return {path: path.read_bytes() for path in paths}


@pytest.fixture(scope="module", params=["mean", pytest.param("drop", marks=pytest.mark.slow)])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout that has a model, and is named by what it does about gaps."""
    folder = checkout(tmp_path_factory.mktemp("cars") / request.param, missing=request.param)
    write(ROWS, path=folder / RAW)
    run_all(folder)
    return folder


def predict(folder: Path, *args: str) -> tuple[list[str], str]:
    """Return the lines that predict prints, and what it says."""
    done = run(sys.executable, "-m", "stages.predict", *args, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def kept(missing: str, rows: Sequence[Row] = ROWS) -> list[Row]:
    return [row for row in rows if missing == "mean" or None not in row[1:7]]


def learn(missing: str) -> tuple[dict[str, float], np.ndarray, list[float]]:
    """Return weights and intercept by name, predictions of the test rows, and R² of both parts."""
    parts = train_test_split(ROWS, test_size=0.2, random_state=SEED)
    parts = [kept(missing, rows) for rows in parts]
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
def test_model_predictions_and_scores_are_those_of_scikit_learn(made: Path) -> None:
    weights, predictions, r2 = learn(made.name)
    stored = joblib.load(made / UNQUANT_PARAMS)
    features = document.load(made / PREDICTOR).schema.features
    found = dict(zip([*features, ""], [*stored["coef"], stored["intercept"]], strict=True))
    assert found == pytest.approx(weights, rel=1e-9)
    plotted = duckdb.read_csv(str(made / PLOTS / "predictions.csv")).fetchnumpy()
    assert plotted["float"] == pytest.approx(predictions, rel=1e-9, abs=0.5e-6)
    scores = json.loads((made / SCORES).read_text(encoding="utf-8"))["float"]
    assert [scores[part]["r2"] for part in ("train", "test")] == pytest.approx(r2, abs=0.51e-6)
    lines, _ = predict(made)
    assert lines[-1].endswith("predictions are those that the pipeline recorded")


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_every_form_and_a_keyed_table_cut_and_shuffled_give_the_same_bytes(
    missing: str, tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(len(ROWS)).tolist()
    cut = [[ROWS[j] for j in order[i::5]] for i in range(5)]
    found = list[dict[Path, bytes]]()
    for form in ("csv", "parquet", "cut"):
        folder = tmp_path / str(len(found))
        checkout(folder, dataset="data/raw/*", key="vin", missing=missing)
        for i, rows in enumerate(cut if form == "cut" else [ROWS]):
            write(rows, form, folder / f"data/raw/{i}")
        found.append(run_all(folder))
    assert all(each == found[0] for each in found)
    assert {PREDICTOR, SCORES} < found[0].keys()


def test_a_level_that_training_has_not_seen_is_counted(made: Path) -> None:
    write([row for row in ROWS if row[1] == "Trabant"] * 7, path=made / "rows")
    _, said = predict(made, "rows", "--only")
    assert "7 of 7 rows outside the training range" in said
    assert "brand, in levels that training has not seen" in said


def test_a_gap_is_left_out_and_counted_or_filled(made: Path) -> None:
    lines, said = predict(made, str(RAW), "--only")
    assert len(lines) - 1 == len(kept(made.name))
    gaps = len(ROWS) - len(kept("drop"))
    assert (f"left out {gaps} rows with a gap" in said) == (made.name == "drop")
