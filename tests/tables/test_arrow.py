import gc
import resource

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


@pytest.mark.parametrize("column", ["i::FLOAT", "i", "i::VARCHAR", "NULL::DOUBLE", "NULL"])
def test_what_is_no_number_is_refused(column: str) -> None:
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT {column}, 1.5::DOUBLE FROM range(3) t(i)")
        with pytest.raises(InputError, match=r"^t: it"):
            list(arrow.blocks(found, "t"))


def test_a_part_of_a_block_is_taken_from_where_it_begins() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT i::DOUBLE AS x FROM range(10000) t(i)")
        for query in ("FROM t LIMIT 5 OFFSET 3333", "FROM t WHERE x BETWEEN 3333 AND 3337"):
            found = np.vstack(list(arrow.blocks(connection.sql(query), "t")))
            assert found[:, 0].tolist() == [3333.0, 3334.0, 3335.0, 3336.0, 3337.0]


def test_memory_is_given_back() -> None:
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

    with duckdb.connect() as connection:
        query = "SELECT i::DOUBLE AS x, i::DOUBLE AS y FROM range(1000000) t(i)"
        for repeat in range(20):
            for _ in arrow.blocks(connection.sql(query), "t"):
                pass
            if repeat == 4:
                before = peak()
    assert peak() - before < 100  # MB, of 240 that went by


def test_a_reader_may_stop_early() -> None:
    with duckdb.connect() as connection:
        for _ in range(20):
            next(arrow.blocks(connection.sql("SELECT i::DOUBLE FROM range(1000000) t(i)"), "t"))
