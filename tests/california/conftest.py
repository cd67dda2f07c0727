"""California Housing, whatever params.yaml says: its model, and a clone that has run on it."""

from pathlib import Path

import pytest

from stages.tables.datasets import california_housing
from stages.tables.relation import DataSet
from tests.conftest import Trained, make_clone, trained_on


@pytest.fixture(scope="session")
def california() -> DataSet:
    return california_housing.load()


@pytest.fixture(scope="session")
def trained(california: DataSet) -> Trained:
    return trained_on(california, seed=42)


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, california: object) -> Path:
    return make_clone(tmp_path_factory.mktemp("california"), "california_housing")
