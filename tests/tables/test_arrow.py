import gc

import duckdb
import numpy as np
import pytest

from stages.project.cli import InputError
from stages.tables import arrow


@pytest.mark.parametrize("rows", [0, 1, 2047, 300_000])
@pytest.mark.parametrize("columns", [1, 7])
def test_blocks_are_the_rows_in_their_order(rows: int, columns: int) -> None:
    names = [f"sqrt(i + {j})" for j in range(columns)]
    with duckdb.connect() as connection:
        blocks = list(
            arrow.blocks(connection.sql(f"SELECT {', '.join(names)} FROM range({rows}) t(i)"), "t")
        )
    gc.collect()  # what DuckDB has handed over is gone, what was yielded is not
    assert all(block.shape == (len(block), columns) and len(block) for block in blocks)
    found = np.vstack(blocks) if blocks else np.empty((0, columns))
    assert (found == np.sqrt(np.arange(rows)[:, None] + np.arange(columns))).all()
    assert len(found) == rows


def test_a_failure_on_the_way_is_told() -> None:
    query = "SELECT CASE WHEN i < 2000000 THEN i::DOUBLE ELSE error('no more')::DOUBLE END"
    with duckdb.connect() as connection:
        blocks = arrow.blocks(connection.sql(f"{query} FROM range(2000001) t(i)"), "rows")
        assert len(next(blocks))
        with pytest.raises(InputError, match=r"^rows: .*no more"):
            list(blocks)


def test_a_reader_may_stop_early() -> None:
    with duckdb.connect() as connection:
        for _ in range(20):
            next(arrow.blocks(connection.sql("SELECT i::DOUBLE FROM range(1000000) t(i)"), "t"))
