"""California Housing is found where scikit-learn caches it, and is the table that it should be."""

import io
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from stages.project.cli import InputError
from stages.tables.datasets import california_housing
from stages.tables.datasets.california_housing import CACHE
from stages.tables.relation import DataSet


@pytest.fixture(scope="session")
def cache(california: DataSet) -> Path:
    """Return scikit-learn's file, which is here now."""
    files = (home / CACHE for home in california_housing.list_homes()[1])
    return next(path.resolve() for path in files if path.exists())


@pytest.mark.parametrize("cwd", [".", ".dvc/tmp/exps/tmp123"])  # an experiment's workspace
@pytest.mark.parametrize(
    "place", ["data/scikit_learn_data", "../shared/scikit_learn_data", "../home/scikit_learn_data"]
)
def test_the_cached_table_is_found(
    place: str,
    cwd: str,
    nowhere: Path,
    cache: Path,
    california: DataSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in (place, cwd):
        Path(folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(cache, place)
    monkeypatch.chdir(cwd)
    found = california_housing.load()
    assert list(found) == list(california)
    assert all((values == california[name]).all() for name, values in found.items())


def test_without_a_network_one_line_says_what_to_do(nowhere: Path) -> None:
    with pytest.raises(InputError) as raised:
        california_housing.load()
    message = str(raised.value)
    for part in ("no route to host", "shared", "cal_housing.tgz", "diabetes", "params.yaml"):
        assert part in message
    assert "\n" not in message


def dump(raw: np.ndarray, change: float = 0.0) -> bytes:
    raw[77, 1] += change
    buffer = io.BytesIO()
    joblib.dump(raw, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: dump(raw)[:10_000], "cannot be read, delete it"),
        (lambda raw: dump(raw[:, :4]), "cannot be read, delete it"),
        (lambda raw: dump(raw[:-1]), "SHA-256"),
        (lambda raw: dump(raw, 0.0001), "SHA-256"),
    ],
)
def test_a_damaged_cache_is_refused(damage: Any, message: str, nowhere: Path, cache: Path) -> None:
    path = Path("data/scikit_learn_data") / CACHE
    path.parent.mkdir(parents=True)
    path.write_bytes(damage(joblib.load(cache)))
    with pytest.raises(InputError) as raised:
        california_housing.load()
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
