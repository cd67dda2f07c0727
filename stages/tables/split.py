"""Split a data set into training and test rows, as SQL.

Without load.key the rows are drawn at random, as scikit-learn's train_test_split draws them. With
it, MD5 of the seed and a row's key says where the row goes. So a row stays on its side when the
table grows, is sorted or cut into files (Géron, Hands-On Machine Learning, chapter 2).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.columns.engine import DuckDB
from stages.columns.sql import literal
from stages.project.params import Load
from stages.tables.relation import Relation, Rows

PLACE = '"\t"'  # of a row in the draw, as SQL; no other column has this name, as theirs print
SAMPLED = 1000  # test rows that reports may show, in the order of the split


class Split(NamedTuple):
    training: Rows
    test: Rows
    order: str  # of the test rows, as SQL


def split(found: Relation, config: Load) -> Split:
    """Split by key where there is one, else as `draw` has drawn."""
    if config.keys:
        return hash_keys(found, config)
    place = f"t.{PLACE}"
    training, test = (found.rows.only(f"{place} {side} {SAMPLED}") for side in (">", "<="))
    return Split(training, test, place)


def draw(sizes: Sequence[int], config: Load, here: DuckDB) -> None:
    """Draw the test rows, as scikit-learn's train_test_split does.

    Tables places0, places1, … say of each file's rows whether and where they stand in the test.
    """
    n_rows = sum(sizes)
    rows = np.arange(n_rows, dtype=np.uint32)
    # not default_rng: the numbers of this one never change, and scikit-learn uses it
    np.random.RandomState(config.seed).shuffle(rows)
    test = rows[: math.ceil(config.test_size * n_rows)]
    place = np.full(n_rows, SAMPLED + 1, dtype=np.uint16)
    place[test] = np.arange(len(test)).clip(max=SAMPLED)
    for index, part in enumerate(np.split(place, np.cumsum(sizes)[:-1])):
        here.connection.register(f"places{index}", {PLACE.strip('"'): part})


def hash_keys(found: Relation, config: Load) -> Split:
    """Split by key: the MD5 of a test row is below test_size, both as text of hex digits."""
    columns = [*map(found.column, config.keys)]
    parts = ", ':', ".join([literal(str(config.seed)), *columns])
    digest = f"md5(concat({parts}))"
    share = literal(f"{math.floor(config.test_size * 2**32):08x}")
    training, test = (found.rows.only(f"{digest} {side} {share}") for side in (">=", "<"))
    return Split(training, test, ", ".join([digest, *columns]))
