import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from urllib.error import URLError

import duckdb
import joblib
import numpy as np
import pytest

from stages.load import split
from stages.project.cli import InputError
from stages.tables import datasets, sql, table
from stages.tables.table import Table

TOY = Table(
    X=np.arange(24.0).reshape(12, 2) / 7,
    y=np.arange(12.0),
    features=('a "quoted" name', "select"),
    target="ü",
    unit="apples",
    dataset="toy",
)


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


def cache_of(california: Table) -> np.ndarray:
    """Undo what scikit-learn derives: the table as its cache has it."""
    raw = np.column_stack([california.y * 100_000, california.X])
    households = raw[:, 5] / raw[:, 6]  # population / (population per household)
    raw[:, 3] *= households
    raw[:, 4] *= households
    raw[:, 6] = households
    return np.asarray(np.rint(raw * 10_000) / 10_000)


@pytest.fixture(scope="session")
def cache(california: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    place: str, nowhere: Path, cache: Path, california: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", "elsewhere")
    Path(place).mkdir(parents=True)
    shutil.copy(cache, place)
    found = datasets.california_housing()
    assert (found.X == california.X).all()
    assert (found.y == california.y).all()


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
    assert len(datasets.california_housing().y) == 20_640


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
    damage: Any, message: str, nowhere: Path, california: Table
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
    assert found.X.shape == (442, 10)
    assert found.y.mean() == pytest.approx(152.1335, abs=5e-5)  # as in Efron et al.'s table


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "toy.parquet"
    table.write(TOY, path)
    back = table.read(path)
    assert (back.X == TOY.X).all()
    assert (back.y == TOY.y).all()
    assert (back.features, back.target, back.unit, back.dataset) == (
        TOY.features,
        TOY.target,
        TOY.unit,
        TOY.dataset,
    )
    assert [child.name for child in path.parent.iterdir()] == ["toy.parquet"]


@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_a_missing_or_damaged_table_says_what_makes_it(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "table.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"table.parquet cannot be read, `dvc repro` makes it: "):
        table.read(path)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT *, 1.5::DOUBLE AS extra FROM toy",
        "SELECT 1.5::DOUBLE AS extra, * FROM toy",
        'SELECT * REPLACE ("select"::FLOAT AS "select") FROM toy',
        "FROM toy LIMIT 0",
        'SELECT * REPLACE (nullif("select", "select") AS "select") FROM toy',
        "SELECT * REPLACE ('inf'::DOUBLE AS \"select\") FROM toy",
    ],
)
def test_a_table_that_something_else_has_rewritten_is_refused(query: str, tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    table.write(TOY, path)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE toy AS FROM read_parquet(?)", [str(path)])
        metadata = connection.execute(
            "SELECT decode(key), decode(value) FROM parquet_kv_metadata(?)", [str(path)]
        ).fetchall()
        pairs = ", ".join(f"{key}: {sql.literal(value)}" for key, value in metadata)
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, KV_METADATA {{{pairs}}})")
    with pytest.raises(InputError, match=r"toy.parquet cannot be read, `dvc repro` makes it: it"):
        table.read(path)


def test_a_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duckdb.connect", lambda: FullDisk())
    with pytest.raises(InputError, match=r"toy.parquet cannot be written: no space"):
        table.write(TOY, tmp_path / "toy.parquet")
    assert list(tmp_path.iterdir()) == []


class FullDisk(MagicMock):
    def __enter__(self) -> "FullDisk":
        return self

    def execute(self, *_: object) -> None:
        raise duckdb.IOException("no space")


def test_split_parts_every_row_once() -> None:
    train, test = split(TOY, test_size=0.25, seed=1)
    assert (len(train.y), len(test.y)) == (9, 3)
    assert sorted([*train.y, *test.y]) == TOY.y.tolist()
    for part in (train, test):
        assert (part.X == TOY.X[part.y.astype(int)]).all()


def test_another_seed_splits_otherwise() -> None:
    assert split(TOY, 0.25, 1)[1].y.tolist() != split(TOY, 0.25, 2)[1].y.tolist()


@pytest.mark.parametrize(("y", "part"), [([5.0] * 12, "training"), ([1.0] + [5.0] * 11, "test")])
def test_a_constant_target_is_refused(y: list[float], part: str) -> None:
    with pytest.raises(InputError, match=rf"^toy: ü is 5.0 in all {part} rows"):
        split(replace(TOY, y=np.array(y)), 0.25, seed=1)


@pytest.mark.parametrize("test_size", [0.01, 0.9])
def test_a_part_that_is_too_small_is_refused(test_size: float) -> None:
    with pytest.raises(InputError, match=f"load.test_size {test_size} leaves"):
        split(TOY, test_size, seed=0)
