"""Terms that `suggest` finds in tables that are made of them."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from stages import load, suggest, train
from stages.project.cli import InputError
from stages.project.files import TEST
from tests.conftest import run_stages, write_csv

pytestmark = pytest.mark.usefixtures("own_folder")


def make(n: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Make features, one of both signs and one of two levels, and a target."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(1, 3, size=(3, n))
    d, noise = rng.normal(size=(2, n))
    return np.column_stack([a, b, c, d, noise / 20]), ["no", "yes"] * (n // 2)


def write(n: int, formula: Callable[..., np.ndarray]) -> None:
    columns, smoker = make(n)
    *features, noise = columns.T
    y = formula(*features, np.array(smoker) == "yes") + noise
    rows = [[*row[:4], text, y] for row, text, y in zip(columns.tolist(), smoker, y, strict=True)]
    write_csv(rows, ["a", "b", "c / d", "d", "smoker", "y"])
    run_stages(load, train, target="y")


def ratio(a: np.ndarray, b: np.ndarray, *_: np.ndarray) -> np.ndarray:
    return np.asarray(a / b)


def suggested(text: str) -> list[str]:
    _, _, found = text.partition("derived: ")
    return list(json.loads(found)) if found else []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "terms"),
    [
        (lambda a, b, c, d, yes: a / b, ["a / b"]),
        (lambda a, b, c, d, yes: d * d + a, ["d * d"]),
        (lambda a, b, c, d, yes: c * yes - b, ['"c / d" * smoker = yes']),
        (lambda a, b, c, d, yes: a + 2 * b - c, []),
    ],
)
def test_it_finds_the_term_that_the_target_is_made_of(
    formula: Callable[..., np.ndarray], terms: list[str]
) -> None:
    write(300, formula)
    assert suggested(suggest.suggest(most=1)) == terms


@pytest.mark.slow
def test_it_prints_what_each_term_gains_and_how_many_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(300, lambda a, b, c, d, yes: a / b + d * d)
    capsys.readouterr()
    terms = suggested(suggest.suggest(most=10))
    assert {*terms[:2]} == {"a / b", "d * d"}
    header, first, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ["gain", "bytes", "term"]
    assert first.endswith("5 features")
    assert [line.rpartition("  ")[2] for line in lines] == terms
    r2 = [float(line.split()[0]) for line in (first, *lines)]
    assert r2 == sorted(r2)
    assert r2[2] > 0.99
    sizes = [int(line.split()[4]) for line in lines]
    assert sizes == sorted(sizes)


@pytest.mark.slow
def test_the_test_rows_are_not_looked_at() -> None:
    write(300, ratio)
    before = suggest.suggest(most=2)
    for path in TEST.iterdir():
        path.unlink()
    assert suggest.suggest(most=2) == before


@pytest.mark.slow
def test_with_many_terms_the_strongest_are_found_first(monkeypatch: pytest.MonkeyPatch) -> None:
    write(300, ratio)
    whole = suggest.suggest(most=1)
    monkeypatch.setattr(suggest, "TERMS", 4)
    monkeypatch.setattr(suggest, "VALUES", 99)
    assert suggest.suggest(most=1) == whole


@pytest.mark.slow
def test_rows_in_the_order_of_their_folds_are_sampled_from_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    a, b, c = rng.uniform(1, 3, size=(3, 300))
    rows = np.column_stack([range(300), a, b, c, a / b + rng.normal(size=300) / 20])
    write_csv(rows.tolist(), ["t", "a", "b", "c", "y"])
    run_stages(load, train, target="y", order="t", features=["a", "b", "c"])
    monkeypatch.setattr(suggest, "TERMS", 4)
    monkeypatch.setattr(suggest, "SAMPLE", 40)
    monkeypatch.setattr(suggest, "VALUES", 99)
    assert suggested(suggest.suggest(most=1)) == ["a / b"]


def test_too_few_rows_for_folds_are_a_mistake() -> None:
    write_csv([[i, i % 3, i * i % 7] for i in range(8)], ["x", "z", "y"])
    run_stages(load, train, target="y", test_size=0.3)
    with pytest.raises(InputError, match="too few rows to choose"):
        suggest.suggest(most=1)
