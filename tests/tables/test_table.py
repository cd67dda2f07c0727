import json
from pathlib import Path

import numpy as np
import pytest

from stages.columns import engine
from stages.project.cli import InputError
from stages.tables import table
from stages.tables.relation import Relation, Rows
from tests.conftest import schema_of

SCHEMA = schema_of("toy", "ü", ('a "quoted" name', "select"))
VALUES = np.random.default_rng(0).normal(size=(5000, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a table of 5000 rows."""
    with engine.connect("toy") as on:
        on.connection.register("t", dict(zip(SCHEMA.columns, VALUES.T, strict=True)))
        rows = Rows("t")
        found = Relation(on, rows, "toy", "ü", SCHEMA.kinds, {}, 5000)
        assert table.write(rows, "0", SCHEMA, tmp_path, on).n_rows == 5000
        table.write_sample(rows, "LIMIT 7", SCHEMA, tmp_path / "sample.parquet", found)
    return tmp_path


def test_a_table_comes_back_as_it_was_written(folder: Path) -> None:
    back = table.read(folder)
    assert (back.schema, back.n_rows) == (SCHEMA, 5000)
    assert (np.vstack([block for block, _ in back.blocks()]) == VALUES).all()
    raw, values = back.sample()
    assert (values == VALUES[:7]).all()
    assert raw == [tuple(row) for row in VALUES[:7, :2].tolist()]
    document = json.loads((folder / "table.json").read_bytes())
    assert document == {
        "schema": {
            "dataset": "toy",
            "target": "ü",
            "missing": "fail",
            "levels": {},
            "inputs": [
                {"column": 'a "quoted" name', "kind": "number"},
                {"column": "select", "kind": "number"},
            ],
        },
        "names": ['"a ""quoted"" name"', '"select"', '"ü"'],
        "n_rows": 5000,
        "low": VALUES.min(axis=0).tolist(),
        "high": VALUES.max(axis=0).tolist(),
    }


def test_blocks_are_all_rows_in_their_order(folder: Path) -> None:
    blocks = [block for block, _ in table.read(folder).blocks()]
    assert (np.vstack(blocks) == VALUES).all()


def test_some_features_can_be_read(folder: Path) -> None:
    found = table.read(folder).of(SCHEMA.of([1]))
    assert (np.vstack([block for block, _ in found.blocks()]) == VALUES[:, 1:]).all()
    assert found.low == VALUES[:, 1:].min(axis=0).tolist()


@pytest.mark.parametrize("name", ["table.json", "rows.parquet", "sample.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"[]"])
def test_a_missing_or_damaged_table_says_what_makes_it(
    name: str, content: bytes | None, folder: Path
) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*`dvc repro` makes") as raised:  # noqa: PT012
        found = table.read(folder)
        [*found.blocks(), found.sample()]
    assert "\n" not in str(raised.value)
