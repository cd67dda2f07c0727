"""Tables of one's own in the whole pipeline."""

import subprocess
import sys
import warnings
from pathlib import Path

import duckdb
import joblib
import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stages import load
from stages.project.cli import InputError
from stages.project.files import MODEL, SUMS, TEST, TRAIN
from stages.quantizer import solve
from stages.tables import datasets, gather, table
from tests.conftest import rows_of, run_stages, write_csv

pytestmark = pytest.mark.usefixtures("own_folder")


def predict(*args: str) -> str:
    command = [sys.executable, "-m", "stages.predict", *args]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_training() -> dict[str, np.ndarray]:
    return duckdb.read_parquet(str(TRAIN / table.ROWS)).fetchnumpy()


def least_squares(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fit by the normal equations' solution of least norm: weights, then the intercept."""
    solution, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)
    return np.asarray(solution)


@pytest.mark.slow
def test_diabetes_as_a_file_gives_the_metrics_of_the_data_set() -> None:
    expected = run_stages(dataset="diabetes", target=None)
    whole = datasets.diabetes()
    write_csv(rows_of(whole).block.tolist(), [*whole.columns])
    found = run_stages(target=whole.target)
    for scores in (found, expected):
        del scores["bytes"], scores["predictor"]  # of a file that has the name of the table
    assert found == expected
    assert "all 10 predictions are those" in predict()


def test_one_feature() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(20, 5, 200)
    y = 3 - 0.25 * x + rng.normal(0, 0.1, 200)
    write_csv(np.column_stack([x, y]).tolist(), ["x", "y"])
    metrics = run_stages(target="y")
    assert 0 < metrics["quantization"]["mse_growth_percent"] < 0.5  # (1.25 · 2^-8)² / 0.1² at most
    assert metrics["quantization"]["optimal"]
    [line] = predict("data/raw/t.csv", "--only").splitlines()[1:2]
    learned = read_training()
    slope, intercept = least_squares(learned["x"][:, None], learned["y"])
    bound = metrics["quantization"]["prediction_difference"]["bound"]
    assert learned["x"].min() <= x[0] <= learned["x"].max()
    assert float(line) == pytest.approx(intercept + slope * x[0], abs=bound)


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
    metrics = run_stages(target="from", unit="€")
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
    assert "from, in €" in predict("--card")


@pytest.mark.slow
def test_columns_that_teach_nothing_are_left_out_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(2)
    x, z = rng.normal(50, 3, 100), rng.normal(size=100)
    y = 2 * x - z + rng.normal(0, 0.1, 100)
    columns = [x, np.full(100, 7.5), z, x, np.zeros(100)]
    write_csv(np.column_stack([*columns, y]).tolist(), ["x", "c", "z", "same", "zero", "y"])
    metrics = run_stages(target="y")
    assert capsys.readouterr().err.splitlines() == [
        "train: left out, as constant or following from others: c, same, zero",
    ]
    # each weight's error is 2^-8 of it at most: (6² + 1²) / 4^8 of 0.1², and that varies by draw
    assert 0 < metrics["quantization"]["mse_growth_percent"] < 7
    assert metrics["quantization"]["optimal"]
    assert "all 10 predictions are those" in predict()
    # neither the model nor the predictor wants them
    model = joblib.load(MODEL)
    learned = read_training()
    weights = least_squares(np.column_stack([learned["x"], learned["z"]]), learned["y"])
    expected = weights[:2] @ [x[0], z[0]] + weights[2]
    assert model.predict([[x[0], z[0]]])[0] == pytest.approx(expected, rel=1e-12)
    write_csv([[z[0], x[0]]], ["z", "x"], "p.csv")
    assert float(predict("data/raw/p.csv", "--only").split()[1]) == pytest.approx(expected, 1e-3)


def test_a_target_that_varies_by_less_than_is_counted_is_refused() -> None:
    write_csv([[i, 1 - 2.0**-53 * (i % 2)] for i in range(40)], ["x", "y"])
    with pytest.raises(InputError, match="y varies too little"):
        run_stages(target="y")


def test_a_table_in_which_nothing_varies_is_refused() -> None:
    write_csv([[7, i] for i in range(20)], ["x", "y"])
    with pytest.raises(InputError, match="no feature varies"):
        run_stages(target="y")


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


def test_a_test_row_whose_error_is_no_number_is_refused() -> None:
    x, z, noise = np.random.default_rng(0).normal(size=(3, 100))
    y = (x + z + 0.1 * noise) * 1e90
    _, test = train_test_split(np.arange(100), test_size=0.2, random_state=42)
    x[test[0]] = -1e100
    write_csv(np.column_stack([x, z, y]).tolist(), ["x", "z", "y"])
    with pytest.raises(InputError, match=r"data/test: a row lies so far outside"):
        run_stages(target="y")
    assert not Path("reports").exists()


def test_a_target_in_too_large_a_unit_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv([[i, i % 2 * 1e-8] for i in range(20)], ["x", "y"])
    run_stages(target="y")
    assert capsys.readouterr().err == (
        "train: y varies by 5e-09 only, and reports have 6 decimals: choose a smaller unit\n"
    )


@pytest.mark.slow
def test_300_correlated_features_keep_within_the_budget() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=(2000, 1))
    X = common + 0.3 * rng.normal(size=(2000, 300))
    y = X @ rng.normal(size=300) + rng.normal(size=2000)
    write_csv(np.column_stack([X, y]).round(4).tolist(), [*(f"x{i}" for i in range(300)), "y"])
    metrics = run_stages(target="y")["quantization"]
    assert metrics["nodes"] <= solve.BUDGET // 300
    assert not metrics["optimal"]


def test_levels_that_sql_takes_for_one_are_two_columns() -> None:
    levels = ["z", "z", "z", "z", "a", "A", "A'", "A (2)"] * 9
    write_csv([[text, i % 7] for i, text in enumerate(levels)], ["t", "price"])
    run_stages(load, target="price")
    found = table.read(TRAIN)
    assert found.schema.features == ("t = A", "t = A (2)", "t = A'", "t = a")
    [block] = found.blocks()
    assert (block[:, :4].sum(axis=1) <= 1).all()
    assert (block[:, :4].sum(axis=0) > 0).all()


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


def test_rows_without_a_target_are_dropped_and_other_gaps_filled() -> None:
    rows = [[i if i % 5 else "", i if i % 3 else ""] for i in range(60)]
    write_csv(rows, ["x", "price"])
    both = train_test_split(np.arange(60), test_size=0.2, random_state=42)
    n_train, n_test = (int((part % 3 > 0).sum()) for part in both)
    run_stages(load, target="price", missing="mean")
    assert [table.read(part).n_rows for part in (TRAIN, TEST)] == [n_train, n_test]
    assert table.read(TRAIN).schema.features == ("x", "x is missing")
