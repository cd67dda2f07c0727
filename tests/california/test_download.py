"""California Housing is found where scikit-learn caches it, and is the table that it should be."""

import io
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from stages.project.cli import InputError
from stages.tables import datasets
from stages.tables.datasets import DataSet
from tests.conftest import no_network, rows_of


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
    assert tries == [datasets.ARCHIVE_URL] * (1 + datasets.RETRIES)


def bytes_of(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(array, buffer)
    return buffer.getvalue()


def one_value_changed(raw: np.ndarray) -> np.ndarray:
    raw[77, 1] += 0.0001
    return raw


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: bytes_of(raw)[:10_000], "cannot be read, delete it"),
        (lambda raw: b"", "cannot be read, delete it"),
        (lambda raw: b"junk", "cannot be read, delete it"),
        (lambda raw: bytes_of(np.full(raw.shape, "x", dtype=object)), "cannot be read, delete it"),
        (lambda raw: bytes_of(raw[:, :4]), "cannot be read, delete it"),
        (lambda raw: bytes_of(raw[:-1]), "SHA-256"),
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
