"""Fixtures: the real table and the model trained on it, once for all tests."""

from dataclasses import dataclass

import pytest

from stages import dataset
from stages.linear import LinearModel
from stages.load import split
from stages.moments import Moments
from stages.quantize import fold
from stages.table import Table
from stages.train import fit


@dataclass(frozen=True)
class Trained:
    """What the stages up to quantize know, for one seed of the split."""

    train: Table
    test: Table
    model: LinearModel
    moments: Moments


def trained_on(whole: Table, seed: int) -> Trained:
    train, test = split(whole, test_size=0.2, seed=seed)
    model = fold(fit(train.X, train.y))
    return Trained(train, test, model, Moments.of(train.X))


@pytest.fixture(scope="session")
def california() -> Table:
    return dataset.california_housing()


@pytest.fixture(scope="session")
def trained(california: Table) -> Trained:
    return trained_on(california, seed=42)
