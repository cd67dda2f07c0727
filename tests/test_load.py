import io
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.error import URLError

import joblib
import numpy as np
import pytest
import yaml
from sklearn.model_selection import train_test_split

from stages import load
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.tables import datasets, table
from stages.tables.datasets import DataSet
from tests.conftest import rows_of

PARAMETERS = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty checkout, without a home, a network, or waiting for one."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SCIKIT_LEARN_DATA", raising=False)
    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", no_network)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return folder


def no_network(url: str, target: Path) -> None:
    raise URLError("no route to host")


def cache_of(california: DataSet) -> np.ndarray:
    """Undo what scikit-learn derives: the table as its cache has it."""
    rows = rows_of(california)
    raw = np.column_stack([rows.y * 100_000, rows.X])
    households = raw[:, 5] / raw[:, 6]  # population / (population per household)
    raw[:, 3] *= households
    raw[:, 4] *= households
    raw[:, 6] = households
    return np.asarray(np.rint(raw * 10_000) / 10_000)


@pytest.fixture(scope="session")
def cache(california: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home") / datasets.CACHE
    joblib.dump(cache_of(california), path)
    return path


@pytest.mark.parametrize(
    "place",
    [
        "elsewhere",
        "data/scikit_learn_data",
        "../shared/scikit_learn_data",
        "../home/scikit_learn_data",
    ],
)
def test_the_cached_table_is_found(
    place: str, nowhere: Path, cache: Path, california: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", "elsewhere")
    Path(place).mkdir(parents=True)
    shutil.copy(cache, place)
    found = datasets.california_housing()
    assert list(found.columns) == list(california.columns)
    for name, values in found.columns.items():
        assert (values == california.columns[name]).all()


def test_no_table_and_no_network_is_one_message(nowhere: Path) -> None:
    with pytest.raises(InputError) as raised:
        datasets.california_housing()
    message = str(raised.value)
    for part in ("no route to host", "../shared", "cal_housing.tgz", "diabetes", "params.yaml"):
        assert part in message
    assert "\n" not in message


def test_an_experiment_s_workspace_finds_what_its_checkout_has(
    nowhere: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cache.parent, nowhere / "data/scikit_learn_data")
    workspace = nowhere / ".dvc/tmp/exps/tmp123"
    workspace.mkdir(parents=True)
    monkeypatch.chdir(workspace)
    assert len(datasets.california_housing().columns["MedInc"]) == 20_640


def test_a_download_is_tried_again(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def count(url: str, target: Path) -> None:
        tries.append(url)
        no_network(url, target)

    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", count)
    with pytest.raises(InputError):
        datasets.california_housing()
    assert tries == [datasets.ARCHIVE_URL] * 2 * len(datasets.DOWNLOAD_PAUSES)


def bytes_of(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(array, buffer)
    return buffer.getvalue()


def one_value_changed(raw: np.ndarray) -> np.ndarray:
    raw[77, 1] += 0.0001
    return raw


def one_value_missing(raw: np.ndarray) -> np.ndarray:
    raw[77, 1] = np.nan
    return raw


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: bytes_of(raw)[:10_000], "cannot be read, delete it"),
        (lambda raw: b"", "cannot be read, delete it"),
        (lambda raw: b"junk", "cannot be read, delete it"),
        (lambda raw: bytes_of(np.full(raw.shape, "x", dtype=object)), "cannot be read, delete it"),
        (lambda raw: bytes_of(raw[:, :4]), "cannot be read, delete it"),
        (lambda raw: bytes_of(raw[:-1]), "20639, 8) rows and features, not (20640, 8)"),
        (lambda raw: bytes_of(np.column_stack([raw, raw])), "(20640, 17) rows and features"),
        (lambda raw: bytes_of(one_value_missing(raw)), "values that are not finite"),
        (lambda raw: bytes_of(one_value_changed(raw)), "SHA-256"),
    ],
)
def test_a_damaged_cache_is_refused(
    damage: Any, message: str, nowhere: Path, california: DataSet
) -> None:
    path = Path("data/scikit_learn_data") / datasets.CACHE
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(cache_of(california)))
    with pytest.raises(InputError) as raised:
        datasets.california_housing()
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_diabetes_needs_no_network(nowhere: Path) -> None:
    found = datasets.diabetes()
    rows = rows_of(found)
    assert rows.X.shape == (442, 10)
    assert rows.y.mean() == pytest.approx(152.1335, abs=5e-5)  # as in Efron et al.'s table


# the split


@pytest.fixture
def toy(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Make a built-in data set of 40 rows, whose target is the row's number."""
    numbers = np.arange(40.0)
    whole = DataSet(
        {'a "quoted" name': numbers / 7, "place": numbers**2, "ü": numbers.copy()},
        target="ü",
        unit="apples",
    )
    monkeypatch.setitem(datasets.SOURCES, "toy", lambda: whole)
    return whole


def loaded(**changed: Any) -> list[np.ndarray]:
    """Run the stage, and return both tables, and the sample: features, then the target."""
    section = {"dataset": "toy", "target": None, "features": None, "unit": None, "key": None}
    section |= {"test_size": 0.25, "seed": 1} | changed
    Path("params.yaml").write_text(yaml.safe_dump(PARAMETERS | {"load": section}), "utf-8")
    load.main()
    train, test = table.read(TRAIN), table.read(TEST)
    return [np.vstack(list(train.blocks())), np.vstack(list(test.blocks())), test.sample()]


def test_every_row_is_in_one_part_as_it_was(toy: DataSet) -> None:
    train, test, sample = loaded()
    whole = np.column_stack(list(toy.columns.values()))
    assert len(test) == 10
    both = np.vstack([train, test])
    assert (both[both[:, -1].argsort()] == whole).all()
    assert (sample[sample[:, -1].argsort()] == test).all()  # rows stay in the order of the data set


@pytest.mark.parametrize("test_size", [0.05, 0.2, 0.33, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 - 1])
def test_the_rows_are_those_of_train_test_split(toy: DataSet, test_size: float, seed: int) -> None:
    train, test, sample = loaded(test_size=test_size, seed=seed)
    rows = train_test_split(np.arange(40.0), test_size=test_size, random_state=seed)
    assert train[:, -1].tolist() == sorted(rows[0])
    assert test[:, -1].tolist() == sorted(rows[1])
    assert sample[:, -1].tolist() == rows[1].tolist()


def test_the_sample_is_the_first_thousand_rows_of_the_split(
    nowhere: Path, california: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(datasets.SOURCES, "toy", lambda: california)
    _, test, sample = loaded(test_size=0.2, seed=42)
    _, rows = train_test_split(np.arange(20_640), test_size=0.2, random_state=42)
    whole = np.column_stack(list(california.columns.values()))
    assert (sample == whole[rows[:1000]]).all()
    assert (test == whole[sorted(rows)]).all()


@pytest.mark.parametrize("part", ["training", "test"])
def test_a_constant_target_is_refused(part: str, toy: DataSet) -> None:
    train, test, _ = loaded()
    kept = {path: path.read_bytes() for path in Path("data").rglob("*.*")}
    toy.columns["ü"][(train if part == "training" else test)[:, -1].astype(int)] = 5.0
    with pytest.raises(InputError, match=rf"^toy: ü is 5.0 in all {part} rows"):
        loaded()
    assert {path: path.read_bytes() for path in Path("data").rglob("*.*")} == kept


@pytest.mark.parametrize("test_size", [0.01, 0.95, 0.9999])
def test_a_part_that_is_too_small_is_refused(test_size: float, toy: DataSet) -> None:
    with pytest.raises(InputError, match=f"load.test_size {test_size} leaves"):
        loaded(test_size=test_size)
    assert list(Path("data").iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": "price"}, "toy has no column price, only a"),
        ({"features": ["b"]}, "toy has no column b, only a"),
        ({"features": ["ü"]}, "load.features must not have the target, ü"),
        ({"features": ["place"], "target": "place"}, "load.features must not have the target"),
        ({"key": "place"}, "load.key must be null for toy"),
        ({"key": "ü", "target": "ü"}, "load.key must not have the target, ü"),
        ({"key": ["x"], "features": ["x"]}, "load.features must not have a column of load.key, x"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(
    toy: DataSet, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        loaded(**changed)


def test_columns_of_a_built_in_data_set_can_be_chosen(toy: DataSet) -> None:
    train, _, _ = loaded(target="place", features=["ü"])
    assert (train[:, 0] ** 2 == train[:, 1]).all()
    schema = table.read(TRAIN).schema
    assert (schema.features, schema.target, schema.unit) == (("ü",), "place", "its own unit")
    loaded(unit="m²")
    assert table.read(TRAIN).schema.unit == "m²"
