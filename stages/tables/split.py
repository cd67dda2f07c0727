"""Split a data set into training and test rows, and say in which fold a training row is, as SQL.

Without load.key the rows are drawn at random, as scikit-learn's train_test_split draws them. With
it, MD5 of the seed and a row's key says where the row goes. So a row stays on its side when the
table grows, is sorted or cut into files (Géron, Hands-On Machine Learning, chapter 2). With
load.order the last rows in that order are the test, and folds are stretches of the others.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.columns.engine import DuckDB
from stages.columns.sql import double, identifier, literal
from stages.project.params import Load
from stages.tables.relation import Relation, Rows

# a column: of a row in the draw, or in the files; no other has this name, as theirs print
PLACE = "\t"
SAMPLED = 1000  # test rows that reports may show, in the order of the split
LOTS = 2**16  # equal ones, which make folds: a training row has one
STRETCHES = 60  # of rows in order, which these are


class Split(NamedTuple):
    training: Rows
    test: Rows
    order: str  # of the test rows, as SQL
    lot: str  # of a training row, from 0 to LOTS - 1, as SQL


def split(found: Relation, config: Load) -> Split:
    """Split by order or key where there is one, else as `draw` has drawn."""
    n_test = math.ceil(config.test_size * found.n_rows)
    if found.order:
        return cut(found, config, found.n_rows - n_test)
    if config.keys:
        return hash_keys(found, config)
    place = f"CAST(t.{identifier(PLACE)} AS BIGINT)"
    training, test = (found.rows.only(f"{place} {side} {n_test}") for side in (">=", "<"))
    middle = f"(2 * ({place} - {n_test}) + 1)"  # of a training row, twice
    lot = f"{middle} * {LOTS} // {2 * max(1, found.n_rows - n_test)}"
    return Split(training, test, place, lot)


def draw(sizes: Sequence[int], config: Load, here: DuckDB) -> None:
    """Draw the test rows, the first ones, as scikit-learn's train_test_split does.

    Tables places0, places1, … say of each file's rows where they stand.
    """
    rows = np.arange(sum(sizes), dtype=np.uint32)
    if not config.order:
        # not default_rng: the numbers of this one never change, and scikit-learn uses it
        np.random.RandomState(config.seed).shuffle(rows)
    place = np.empty_like(rows)
    place[rows] = np.arange(len(rows), dtype=np.uint32)
    for index, part in enumerate(np.split(place, np.cumsum(sizes)[:-1])):
        here.connection.register(f"places{index}", {PLACE: part})


def hash_keys(found: Relation, config: Load) -> Split:
    """Split by key: the MD5 of a test row is below test_size, both as text of hex digits."""
    columns = [*map(found.column, config.keys)]
    parts = ", ':', ".join([literal(str(config.seed)), *columns])
    digest = f"md5(concat({parts}))"
    share = literal(f"{math.floor(config.test_size * 2**32):08x}")
    training, test = (found.rows.only(f"{digest} {side} {share}") for side in (">=", "<"))
    # four digits that have no part in this
    digits = (f"instr('123456789abcdef', substr({digest}, {j}, 1))" for j in range(12, 8, -1))
    lot = " + ".join(f"{16**place} * {digit}" for place, digit in enumerate(digits))
    return Split(training, test, ", ".join([digest, *columns]), lot)


def cut(found: Relation, config: Load, n_training: int) -> Split:
    """Split by order: of equal rows the key decides, or the place in the files."""
    ties = [*map(found.column, config.keys)] or [f"CAST(t.{identifier(PLACE)} AS DOUBLE)"]
    columns = [found.order, *ties]
    place = f"row_number() OVER (ORDER BY {', '.join(columns)}) - 1 AS place"
    named = [f"{x} AS v{j}" for j, x in enumerate(columns)]
    starts = [n_training * stretch // STRETCHES for stretch in range(1, STRETCHES + 1)]
    first = f"WHERE place IN ({', '.join(map(str, starts))})"

    def before(row: Sequence[float | str]) -> str:
        condition = "FALSE"
        for x, value in reversed([*zip(columns, row, strict=True)]):
            v = found.on.dialect.text(value) if isinstance(value, str) else double(float(value))
            condition = f"({x} < {v} OR {x} = {v} AND {condition})"
        return condition

    rows = found.on.rows(f"SELECT * FROM ({found.rows.select([place, *named])}) AS t {first}")
    firsts = {start: before(row) for start, *row in rows}
    is_training = firsts.get(n_training, "TRUE")
    lots = (f"WHEN {firsts[n]} THEN {-(-j * LOTS // STRETCHES)}" for j, n in enumerate(starts[:-1]))
    lot = f"CASE {' '.join(lots)} ELSE {LOTS - LOTS // STRETCHES} END"
    training, test = (found.rows.only(f"{no}({is_training})") for no in ("", "NOT "))
    return Split(training, test, ", ".join(columns), lot)
