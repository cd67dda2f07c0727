import dataclasses
import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from msgspec.structs import replace

from stages.columns import engine
from stages.columns.inputs import Schema
from stages.project.cli import InputError
from stages.tables import table
from tests.conftest import schema_of

SCHEMA = schema_of("toy", "ü", "apples", ('a "quoted" name', "select"))
VALUES = np.random.default_rng(0).normal(size=(5000, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a table of 5000 rows."""
    with engine.connect("toy") as connection:
        connection.register(table.VIEW, dict(zip(SCHEMA.columns, VALUES.T, strict=True)))
        on = engine.DuckDB("toy", connection)
        assert table.write("", SCHEMA, tmp_path, on) == 5000
        table.write_sample("LIMIT 7", SCHEMA, tmp_path / "sample.parquet", on)
    return tmp_path


def test_a_table_comes_back_as_it_was_written(folder: Path) -> None:
    back = table.read(folder)
    assert (back.schema, back.n_rows) == (SCHEMA, 5000)
    assert (np.vstack(list(back.blocks())) == VALUES).all()
    raw, values = back.sample()
    assert (values == VALUES[:7]).all()
    assert raw == [tuple(row) for row in VALUES[:7, :2].tolist()]
    assert (back.low == VALUES.min(axis=0)).all()
    assert (back.high == VALUES.max(axis=0)).all()
    assert json.loads((folder / "table.json").read_bytes()) == {
        "dataset": "toy",
        "target": "ü",
        "unit": "apples",
        "missing": "fail",
        "levels": {},
        "inputs": [
            {"column": 'a "quoted" name', "kind": "number"},
            {"column": "select", "kind": "number"},
        ],
    }


@pytest.mark.parametrize("rows", [100, 2048, 2500, 4999, 5000, 5001])
def test_blocks_are_all_rows_in_their_order(
    rows: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "BLOCK", rows * VALUES.shape[1])
    blocks = [*table.read(folder).blocks()]
    assert {len(block) for block in blocks[:-1]} <= {rows}
    assert (np.vstack(blocks) == VALUES).all()


def test_some_features_can_be_read(folder: Path) -> None:
    found = table.read(folder, SCHEMA.of([1]))
    assert (np.vstack(list(found.blocks())) == VALUES[:, 1:]).all()
    assert found.low.tolist() == VALUES[:, 1:].min(axis=0).tolist()


@pytest.mark.parametrize(
    "expected",
    [
        replace(SCHEMA, dataset="other"),
        replace(SCHEMA, target="other"),
        replace(SCHEMA, unit="pears"),
        replace(SCHEMA, levels={"select": ("a",)}),
        SCHEMA.of([1, 0]),
    ],
)
def test_another_table_is_refused(expected: Schema, folder: Path) -> None:
    with pytest.raises(InputError, match="is another table than"):
        table.read(folder, expected)


@pytest.mark.parametrize("name", ["table.json", "rows.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"junk", b"[]"])
def test_a_missing_or_damaged_table_says_what_makes_it(
    name: str, content: bytes | None, folder: Path
) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*`dvc repro` makes") as raised:
        table.read(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT *, 1.5::DOUBLE AS extra FROM toy",
        "SELECT 1.5::DOUBLE AS extra, * FROM toy",
        'SELECT * REPLACE ("select"::FLOAT AS "select") FROM toy',
        "FROM toy LIMIT 0",
        'SELECT * REPLACE (nullif("select", "select") AS "select") FROM toy',
        "SELECT * REPLACE ('inf'::DOUBLE AS \"select\") FROM toy",
        "SELECT * REPLACE ('nan'::DOUBLE AS \"select\") FROM toy",
        'SELECT * REPLACE (1e101::DOUBLE AS "select") FROM toy',
    ],
)
def test_a_table_that_something_else_has_rewritten_is_refused(query: str, folder: Path) -> None:
    path = folder / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE toy AS FROM read_parquet(?)", [str(path)])
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    with pytest.raises(InputError, match=r"rows.parquet is damaged, `dvc repro` makes it"):
        table.read(folder)


@pytest.mark.parametrize("rows", [10, 4999, 5001, 5000])
def test_a_table_that_changes_while_it_is_read_is_refused(
    rows: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "BLOCK", 100 * VALUES.shape[1])
    blocks = table.read(folder).blocks()
    next(blocks)
    old = shutil.copy(folder / "rows.parquet", folder / "old.parquet")
    duckdb.execute(
        f"COPY (FROM (FROM '{old}' UNION ALL FROM '{old}') LIMIT {rows})"
        f" TO '{folder}/rows.parquet' (FORMAT parquet, ROW_GROUP_SIZE 2048)"
    )
    with pytest.raises(InputError, match=r"rows\.parquet") as raised:
        list(blocks)
    assert "\n" not in str(raised.value)


def test_a_table_of_another_length_is_refused(folder: Path) -> None:
    found = dataclasses.replace(table.read(folder), n_rows=4999)
    with pytest.raises(InputError, match="changed while it was read"):
        list(found.blocks())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('SELECT NULL::DOUBLE AS "select", * EXCLUDE "select" FROM old', "not finite"),
        ('SELECT \'nan\'::DOUBLE AS "select", * EXCLUDE "select" FROM old', "not finite"),
        ("FROM old LIMIT 0", "no rows"),
        ('SELECT 0 AS other, * EXCLUDE "select" FROM old', 'Referenced column "select" not found'),
        (None, "does not exist"),
    ],
)
def test_a_damaged_sample_is_refused(query: str | None, message: str, folder: Path) -> None:
    found = table.read(folder)
    path = folder / "sample.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE old AS FROM read_parquet(?)", [str(path)])
        path.unlink()
        if query:
            connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    with pytest.raises(InputError, match=rf"sample\.parquet.* {message}") as raised:
        found.sample()
    assert "`dvc repro` makes" in str(raised.value)
