"""Tables of one's own in the whole pipeline."""

import json
import subprocess
import sys
import warnings
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stages import gate, load, train
from stages.predictor import document
from stages.predictor.rows import Scorer
from stages.project.cli import InputError
from stages.project.files import METRICS, PREDICTOR, SCORES, SUMS, TEST, TRAIN
from stages.project.params import Gate
from stages.tables import gather, table
from tests.conftest import run_stages, write_csv

pytestmark = pytest.mark.usefixtures("own_folder")


def predict(*args: str) -> str:
    command = [sys.executable, "-m", "stages.predict", *args]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_training() -> dict[str, np.ndarray]:
    *columns, _ = duckdb.read_parquet(str(TRAIN / table.ROWS)).fetchnumpy().values()  # the lot
    return dict(zip(table.read(TRAIN).schema.columns, columns, strict=True))


def least_squares(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fit by the normal equations' solution of least norm: weights, then the intercept."""
    solution, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)
    return np.asarray(solution)


NAMES = [
    "two words",
    'a "quote"',
    "it's",
    "größe",
    "数",
    "select",
    "GROUP BY",
    "a.b",
    "*",
    "c0",
    "n1",
]


@pytest.mark.slow
def test_names_of_features_may_be_anything() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, len(NAMES))) * 10.0 ** np.arange(-5, 6)
    y = X @ (rng.normal(size=len(NAMES)) / X.std(axis=0)) + rng.normal(size=100)
    write_csv(np.column_stack([X, y]).tolist(), [*NAMES, "from"])
    metrics = run_stages(target="from")
    assert metrics["quantization"]["mse_growth_percent"] < 0.01
    assert "all 10 predictions are those" in predict()
    learned = read_training()
    *weights, intercept = least_squares(
        np.column_stack([learned[name] for name in NAMES]), learned["from"]
    )
    bound = metrics["quantization"]["prediction_difference"]["bound"]
    output = predict("data/raw/t.csv", "--only").splitlines()[1:]
    train_rows = (X >= np.min([learned[n] for n in NAMES], axis=1)) & (
        X <= np.max([learned[n] for n in NAMES], axis=1)
    )
    error = np.abs(np.array(output, float) - (X @ weights + intercept))
    assert error[train_rows.all(axis=1)].max() <= bound
    rows = duckdb.execute(predict("--sql", f"'{gather.FOLDER}/t.csv'")).fetchall()
    assert [repr(row[-1]) for row in rows] == output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1.0, 1.0), (1e99, 1.0), (1e-40, 1.0), (1.0, 1e99), (1e9, 1e-9)],
)
def test_numbers_of_any_size_go_through(factor: float, unit: float) -> None:
    rng = np.random.default_rng(5)
    x, z, noise = rng.normal(size=(3, 100))
    write_csv(
        np.column_stack([x * factor, z, unit * (x + z + 0.1 * noise)]).tolist(),
        ["x", "z", "y"],
    )
    with warnings.catch_warnings(action="error"):
        metrics = run_stages(target="y")
    assert metrics["float"]["test"]["r2"] > 0.98
    # each weight's error is 2^-8 of it at most: (1 + 1) / 4^8 of 0.1², and that varies by draw
    assert 0 < metrics["quantization"]["mse_growth_percent"] < 0.4
    assert metrics["quantization"]["optimal"]


def test_without_test_rows_the_model_learns_from_all_and_folds_score_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(6)
    x, noise = rng.normal(size=(2, 60))
    write_csv(np.column_stack([x, x + 0.1 * noise]).tolist(), ["x", "y"])
    found = run_stages(target="y", test_size=0)
    _, intercept = least_squares(x[:, None], x + 0.1 * noise)
    assert found["intercept"]["float"] == pytest.approx(intercept)
    assert found["float"].keys() == found["quantized"].keys() == {"train"}
    assert found["cv_r2"]["mean"] > 0.9
    assert not {"half_widths", "baseline"} & found.keys()
    assert "0 test rows cannot tell" in capsys.readouterr().err
    metrics = json.loads(METRICS.read_text(encoding="utf-8"))
    assert metrics.keys() == {"cv_r2", "growth_ppm", "payload_bits"}
    assert gate.shortfalls(metrics, Gate(None, 0.9, 0.0)) == []
    for limits, name in ((Gate(0.5, None, 0.0), "min_r2"), (Gate(None, 1.0, 0.0), "min_cv_r2")):
        [line] = gate.shortfalls(metrics, limits)
        assert f"gate.{name} wants" in line
    assert "all 10 predictions are those" in predict()
    assert (found["rows"], "gaps" in found) == ({"train": 60, "test": 0}, False)


@pytest.mark.slow
def test_few_test_rows_give_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv([[i, i * i % 7] for i in range(95)], ["x", "y"])
    assert "half_widths" not in run_stages(target="y")
    assert "19 test rows cannot tell how far off" in capsys.readouterr().err
    write_csv([[i, i * i % 7] for i in range(96)], ["x", "y"])
    assert run_stages(target="y")["half_widths"].keys() == {"0.5", "0.8", "0.9", "0.95"}


@pytest.mark.slow
def test_a_table_that_is_shuffled_and_cut_gives_the_same_bytes() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(3000, 2)).round(3)
    price = (values @ [3.0, -1.0] + rng.normal(size=3000)).round(3)
    rows = [[f"h{i:04}", *row, y] for i, (row, y) in enumerate(zip(values, price, strict=True))]
    header = ["id", "size", "age", "price"]
    write_csv(rows, header)
    made = {}
    for form in ("whole", "cut"):
        if form == "cut":
            (gather.FOLDER / "t.csv").unlink()
            for i, part in enumerate(np.array_split(rng.permutation(3000), 7)):
                write_csv([rows[j][::-1] for j in part], header[::-1], f"{i}.csv")
        wanted = {"dataset": "data/raw/*.csv", "target": "price", "key": "id"}
        run_stages(**wanted, features=["size", "age"])
        made[form] = {
            path: path.read_bytes()
            for folder in ("models", "reports")
            for path in Path(folder).rglob("*.*")
        }
    assert made["whole"] == made["cut"]
    assert SUMS in made["cut"]


def test_a_table_that_teaches_nothing_is_refused() -> None:
    write_csv([[7, i] for i in range(20)], ["x", "y"])
    with pytest.raises(InputError, match="no feature varies"):
        run_stages(target="y")


def test_a_target_that_varies_by_its_last_bit_is_learned() -> None:
    write_csv([[i % 2, 1 - 2.0**-53 * (i % 2)] for i in range(40)], ["x", "y"])
    assert run_stages(target="y")["float"]["test"]["r2"] == 1.0


def test_a_test_row_whose_error_is_no_number_is_refused() -> None:
    x, z, noise = np.random.default_rng(0).normal(size=(3, 100))
    _, test = train_test_split(np.arange(100), test_size=0.2, random_state=42)
    y = (x + z + 0.1 * noise) * 1e90
    x[test[0]] = -1e100
    write_csv(np.column_stack([x, z, y]).tolist(), ["x", "z", "y"])
    with pytest.raises(InputError, match=r"data/test: a row lies so far outside"):
        run_stages(target="y")
    assert not SCORES.exists()


def test_train_names_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    x, z = np.random.default_rng(2).normal(50, 3, size=(2, 100))
    write_csv([[a, 7.5, b, a, (2 * a - b) * 1e-9] for a, b in zip(x, z, strict=True)], [*"xczsy"])
    run_stages(load, train, target="y")
    left_out, unit = capsys.readouterr().err.splitlines()
    assert left_out == "train: left out, as constant or following from others: c, s"
    assert "choose a smaller unit" in unit


def test_train_names_features_that_others_nearly_make_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, z, w, u, noise = np.random.default_rng(4).normal(size=(5, 200))
    columns = [x, x + 0.9 * z + 1e-3 * w, z, u, x + z + u + noise]
    write_csv(np.column_stack(columns).tolist(), ["x", "sum", "z", "u", "y"])
    run_stages(load, train, target="y")
    near, unsure, pair = capsys.readouterr().err.splitlines()
    assert near == "train: x, sum, z: others nearly make them up, by a VIF over 1,000"
    assert unsure == "train: the 95 % interval has 0 in it for 3 of 4 weights: x, sum, z"
    assert pair == "train: sum goes most with x"


def test_train_tells_of_numbers_too_far_apart_to_be_exact(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_csv([[10.0 ** (i % 37), i, i * i % 7] for i in range(60)], ["x", "z", "y"])
    run_stages(load, train, target="y")
    assert "train: x: bits below 2^-126 of the largest value" in capsys.readouterr().err


def test_train_warns_of_leaks_and_of_few_rows(capsys: pytest.CaptureFixture[str]) -> None:
    x, z, w = np.random.default_rng(3).normal(size=(3, 36))
    y = 1.8 * (x + 0.02 * z) + 32
    write_csv(np.column_stack([x, z, w, y]).tolist(), ["celsius", "z", "w", "y"])
    run_stages(load, train, target="y")
    leak, few, unsure = capsys.readouterr().err.splitlines()
    assert unsure == "train: the 95 % interval has 0 in it for 1 of 3 weights: w"
    assert leak.startswith("train: celsius alone explains more than 99.9 % of y")
    assert few.startswith("train: 28 rows are few for 3 features")


def test_rows_that_were_changed_are_damaged() -> None:
    write_csv([[i, i * i % 7] for i in range(40)], ["x", "y"])
    run_stages(load, target="y")
    rows = TRAIN / table.ROWS
    duckdb.execute(
        f"CREATE OR REPLACE TEMP TABLE changed AS SELECT * REPLACE (x * 1e9 AS x) FROM '{rows}'"
    )
    duckdb.execute(f"COPY changed TO '{rows}' (FORMAT parquet)")
    with pytest.raises(InputError, match=r"data/train is damaged, `dvc repro` makes it: a value"):
        run_stages(train, target="y")


@pytest.mark.slow
def test_a_select_of_files_goes_through_and_predict_takes_its_columns() -> None:
    rng = np.random.default_rng(4)
    rows = [[i, *rng.normal(size=2).round(3)] for i in range(200)]
    write_csv([row[:2] for row in rows], ["id", "size"], "a.csv")
    write_csv([[i, 3 * x + y] for i, x, y in rows], ["id", "price"], "b.csv")
    tables = "'data/raw/a.csv' JOIN 'data/raw/b.csv' USING (id)"
    select = f"SELECT id, size, size * size AS area, price FROM {tables}"
    (gather.FOLDER / "t.sql").write_text(select)
    wanted = {"dataset": "data/raw/t.sql", "target": "price", "key": "id"}
    digests = []
    for _ in range(2):
        run_stages(**wanted)
        digests.append([path.read_bytes() for path in sorted(Path("data/train").iterdir())])
    assert digests[0] == digests[1]
    duckdb.execute(f"COPY ({select}) TO 'next.csv'")
    assert len(predict("next.csv", "--only").splitlines()) == 201


@pytest.mark.parametrize(("missing", "dropped"), [("mean", 19), ("drop", 27)])
def test_rows_without_a_target_are_dropped_and_other_gaps_filled(
    missing: str, dropped: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv([[i if i % 5 else "", i if i % 3 else ""] for i in range(56)], ["x", "price"])
    both = train_test_split(np.arange(56), test_size=0.2, random_state=42)
    kept = [part[(part % 3 > 0) & ((part % 5 > 0) | (missing == "mean"))] for part in both]
    run_stages(load, target="price", missing=missing)
    assert [table.read(part).n_rows for part in (TRAIN, TEST)] == [*map(len, kept)]
    assert f"dropped {dropped} rows with a gap" in capsys.readouterr().err
    filled = ("x", "x is missing") if missing == "mean" else ("x",)
    assert table.read(TRAIN).schema.features == filled


@pytest.mark.slow
def test_a_ratio_needs_its_columns_and_its_gaps_follow_load_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(8)
    rows = [[i, *rng.uniform(1, 9, 2).round(2), rng.choice(["yes", "no"])] for i in range(200)]
    rows = [[i, a, b, s, round(a / b + 0.1 * a * (s == "yes"), 6)] for i, a, b, s in rows]
    rows[7][2] = 0
    header = ["n", "a", "b", "s", "y"]
    write_csv(rows, header)
    wanted: Any = {"target": "y", "features": ["n"], "derived": ["a / b", "a * s = yes"]}
    with pytest.raises(InputError, match="1 of 200 rows have a gap, a / b in 1; "):
        run_stages(load, **wanted)
    found = run_stages(**wanted, missing="drop")
    assert "dropped 1 row with a gap, a / b in 1" in capsys.readouterr().err
    assert found["float"]["test"]["r2"] == 1.0
    assert "all 10 predictions are those" in predict()
    assert found["gaps"] == {"a / b": 1}
    output = predict("data/raw/t.csv").splitlines()
    assert len(output) == 200
    assert all(abs(float(p) - float(y)) < 0.1 for *_, y, p in (it.split(",") for it in output[1:]))
    write_csv([row[:2] for row in rows], header[:2])
    assert "columns b, s missing; found n, a" in refuse("data/raw/t.csv")


@pytest.mark.slow
def test_a_row_without_a_ratio_is_named_with_it() -> None:
    write_csv([[i % 5, 1 + i % 7, i % 5 / (1 + i % 7)] for i in range(40)], ["a", "b", "y"])
    run_stages(target="y", derived=["a / b"])
    write_csv([[1, 2], [3, 0], [4, "1e26"], [5, 1]], ["a", "b"])
    assert (
        "row 2 below the header: a / b is empty, must be of numbers that are 0 or 1e-25 to 1e25"
        " in size, and of no divisor 0 (2 bad rows in all)"
    ) in refuse("data/raw/t.csv")
    with pytest.raises(InputError, match=r"^row 1: a / b is empty, must be of numbers that are 0"):
        Scorer(document.load(PREDICTOR)).predict({"a": 1, "b": 0}, "row 1")
    write_csv([[1, 2], [3, ""]], ["a", "b"])
    assert "row 2 below the header: b is empty, must be a finite" in refuse("data/raw/t.csv")


def refuse(path: str) -> str:
    """Return what predict says of a table that it refuses."""
    command = [sys.executable, "-m", "stages.predict", path]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        (["a / c"], "column c missing; found n, a, b, y"),
        (["a / y"], "load.derived, load.key, load.target .* must be different columns.* y"),
        (["n * a"], "load.derived, load.key, load.target .* must be different columns.* n"),
        (["a"], "load.derived: 'a' must be 2 to 4 columns"),
        (["a / b", "a  /  b"], "two inputs would be called a / b"),
    ],
)
def test_a_term_of_other_columns_is_refused(derived: list[str], message: str) -> None:
    write_csv([[i, i % 5, 1 + i % 7, i % 3] for i in range(40)], ["n", "a", "b", "y"])
    with pytest.raises(InputError, match=message):
        run_stages(load, target="y", key="n", derived=derived)


def test_a_ratio_that_is_constant_is_left_out_by_train(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv([[i % 5 + 1, 0, i % 3 + i % 7] for i in range(90)], ["a", "b", "y"])
    run_stages(load, train, target="y", missing="mean", derived=["a / a", "a / b"])
    assert "following from others: b, a / a, a / b" in capsys.readouterr().err


def houses(n: int = 300) -> tuple[list[Any], list[Any]]:
    """Make houses as a clean table has them, and as somebody sends them."""
    rng = np.random.default_rng(5)
    clean, messy = [], []
    for i in range(n):
        area, rate = int(rng.integers(400, 4000)), round(float(rng.uniform(0.5, 3)), 1)
        sold = date(2018, 1, 1) + timedelta(days=int(rng.integers(0, 900)))
        price = round(150 * area - 9000 * rate + 20 * (sold - date(2018, 1, 1)).days + 99.5, 2)
        gap = i % 50 == 3
        clean.append(["" if gap else area, rate, sold.isoformat(), price])
        written = f"{sold.month}/{sold.day}/{sold.year}"
        messy.append(["NA" if gap else f"{area:,}", f"{rate}%", written, f"${price:,.2f}"])
    return clean, messy


HOUSES = ["area", "tax", "sold", "price"]


@pytest.mark.parametrize("missing", ["mean", "drop"])
@pytest.mark.slow
def test_a_table_as_it_was_sent_gives_the_model_of_the_clean_one(missing: str) -> None:
    clean, messy = houses()
    predictors, predicted = [], []
    for rows in (clean, messy):
        write_csv(rows, HOUSES)
        run_stages(target="price", missing=missing, na=["NA"])
        predictors.append(json.loads(PREDICTOR.read_text()))
        predicted.append(Path("reports/predictions.csv").read_bytes())
    assert predicted[0] == predicted[1]
    features = predictors[1]["features"]
    readings = {each["column"]: each.pop("reading") for each in features if "reading" in each}
    assert readings == {"area": "1,234.5", "tax": "1,234.5 %", "sold": "12/31/2020"}
    assert predictors[1].pop("na") == predictors[0].pop("na") == ["NA"]
    assert predictors[0] == predictors[1]


@pytest.mark.slow
def test_the_next_file_is_read_as_the_first_one_was_whatever_it_looks_like() -> None:
    _, messy = houses()
    write_csv(messy, HOUSES)
    run_stages(target="price", missing="mean", na=["NA"])
    expected = predict("data/raw/t.csv", "--only")
    plain = [[area.replace(",", "").replace("NA", ""), *others] for area, *others in messy]
    write_csv(plain, HOUSES)
    assert predict("data/raw/t.csv", "--only") == expected
    write_csv([["1,479", "1.8%", "2018-11-30", 0]], HOUSES)
    said = refuse("data/raw/t.csv")
    assert "row 1 below the header: sold is '2018-11-30', must be a date" in said
