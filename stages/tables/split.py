"""Split a data set into training and test rows, as SQL.

Without load.key the rows are drawn at random, as scikit-learn's train_test_split draws them. With
it, MD5 of the seed and a row's key says where the row goes. So it stays where it is when the table
grows, is sorted or cut into files, which a growing table needs: otherwise what was a training row
of the last model becomes a test row of the next (Géron, Hands-On Machine Learning, chapter 2).
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.columns.sql import literal
from stages.project.params import Load
from stages.tables import datasets
from stages.tables.encoding import Encoding, Gathered, encoded
from stages.tables.table import VIEW, Engine, column

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLED = 1000  # test rows that reports may show, in the order of the split


class Split(NamedTuple):
    """How rows are split, as SQL."""

    training: str  # what follows FROM VIEW for the training rows
    test: str
    order: str  # of the test rows


def drawn(n_rows: int, config: Load, connection: "DuckDBPyConnection") -> Split:
    """Split at random, as scikit-learn's train_test_split does."""
    rows = np.arange(n_rows, dtype=np.uint32)
    # not default_rng: the numbers of this one never change, and scikit-learn uses it
    np.random.RandomState(config.seed).shuffle(rows)
    test = rows[: math.ceil(config.test_size * n_rows)]
    place = np.full(n_rows, SAMPLED + 1, dtype=np.uint16)
    place[test] = np.arange(len(test)).clip(max=SAMPLED)
    connection.register("places", {"place": place})
    rest = "POSITIONAL JOIN places WHERE places.place"
    return Split(f"{rest} > {SAMPLED}", f"{rest} <= {SAMPLED}", "places.place")


def keyed(config: Load, on: Engine) -> Split:
    """Split by key: a test row is one whose MD5 is below the share test_size, as hex text.

    Every engine compares text alike.
    """
    columns = [column(on, name) for name in config.keys]
    parts = ", ':', ".join([literal(str(config.seed)), *columns])
    digest = f"md5(concat({parts}))"
    share = literal(f"{math.floor(config.test_size * 2**32):08x}")
    order = ", ".join([digest, *columns])
    return Split(f"WHERE {digest} >= {share}", f"WHERE {digest} < {share}", order)


def prepared(
    config: Load, scratch: Path, connection: "DuckDBPyConnection"
) -> tuple[Gathered, Split, Encoding]:
    """Gather the data set, split it, and decide what becomes of its columns."""
    found = datasets.gather(config, scratch, connection)
    keys, n_rows = config.keys, found.n_rows
    split = keyed(config, found.engine) if keys else drawn(n_rows, config, connection)
    return found, split, encoded(found, f"FROM {VIEW} {split.training}", config)
