"""Split a data set into training and test rows, as SQL.

Without load.key the rows are drawn at random, as scikit-learn's train_test_split draws them. With
it, MD5 of the seed and a row's key says where the row goes. So it stays where it is when the table
grows, is sorted or cut into files, which a growing table needs: otherwise what was a training row
of the last model becomes a test row of the next.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.project.params import Load
from stages.tables import datasets
from stages.tables.encoding import Encoding, Gathered, encoded
from stages.tables.sql import literal
from stages.tables.table import VIEW, Engine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLED = 1000  # test rows that reports may show, in the order of the split


@dataclass(frozen=True)
class Split:
    """How rows are split, as SQL: what to join, what test rows meet, and the order of these."""

    join: str
    is_test: str
    order: str

    @property
    def training(self) -> str:
        """What follows FROM VIEW for the training rows."""
        return f"{self.join} WHERE NOT ({self.is_test})"

    @property
    def test(self) -> str:
        return f"{self.join} WHERE {self.is_test}"


def drawn(n_rows: int, config: Load, connection: "DuckDBPyConnection") -> Split:
    """Split at random, as scikit-learn's train_test_split does."""
    rows = np.arange(n_rows, dtype=np.uint32)
    # not default_rng: the numbers of this one never change, and scikit-learn uses it
    np.random.RandomState(config.seed).shuffle(rows)
    test = rows[: math.ceil(config.test_size * n_rows)]
    training = SAMPLED + 1
    place = np.full(n_rows, training, dtype=np.uint16)
    place[test] = SAMPLED
    place[test[:SAMPLED]] = np.arange(len(test[:SAMPLED]))
    connection.register("places", {"place": place})
    return Split("POSITIONAL JOIN places", f"places.place <= {SAMPLED}", "places.place")


def keyed(config: Load, engine: Engine) -> Split:
    """Split by key: a test row is one whose MD5 is below the share test_size, as hex text.

    Every engine compares text alike. Géron, Hands-On Machine Learning, chapter 2, has the idea.
    """
    columns = [f"{VIEW}.{engine.dialect.identifier(name)}" for name in config.keys]
    parts = ", ':', ".join([literal(str(config.seed)), *columns])
    share = f"{math.floor(config.test_size * 2**32):08x}"
    digest = f"md5(concat({parts}))"
    return Split("", f"{digest} < {literal(share)}", ", ".join([digest, *columns]))


def prepared(
    config: Load, scratch: Path, connection: "DuckDBPyConnection"
) -> tuple[Gathered, Split, Encoding]:
    """Gather the data set, split it, and decide what becomes of its columns."""
    found = datasets.gather(config, scratch, connection)
    keys, n_rows = config.keys, found.n_rows
    split = keyed(config, found.engine) if keys else drawn(n_rows, config, connection)
    return found, split, encoded(found, f"FROM {VIEW} {split.training}", config)
