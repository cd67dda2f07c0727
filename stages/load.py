"""Load the data set, check it, and split it into a training and a test table.

Without load.key the rows are drawn at random, as scikit-learn's train_test_split draws them. With
it, MD5 of the seed and a row's key says where the row goes. So it stays where it is when the table
grows, is sorted or cut into files, which a growing table needs: otherwise what was a training row
of the last model becomes a test row of the next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.project.params import Load
from stages.tables import datasets, engine, table
from stages.tables.sql import identifier, literal
from stages.tables.table import ROWS, SAMPLE, VIEW

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLED = 1000  # test rows that reports may show, in the order of the split


@dataclass(frozen=True)
class Split:
    """How rows are split, as SQL: what to join, what test rows meet, and the order of these."""

    join: str
    is_test: str
    order: str


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


def keyed(config: Load) -> Split:
    """Split by key: a test row is one whose MD5 is below the share test_size, as hex text.

    Every engine compares text alike. Géron, Hands-On Machine Learning, chapter 2, has the idea.
    """
    columns = [f"{VIEW}.{identifier(name)}" for name in config.keys]
    parts = ", ':', ".join([literal(str(config.seed)), *columns])
    share = f"{math.floor(config.test_size * 2**32):08x}"
    digest = f"md5(concat({parts}))"
    return Split("", f"{digest} < {literal(share)}", ", ".join([digest, *columns]))


def check(counts: Sequence[int], n_features: int, config: Load) -> None:
    """Refuse fewer training rows than coefficients, or fewer test rows than R² needs."""
    n_train, n_test = counts
    if n_test < 2 or n_train <= n_features:
        chance = "; with a key this is chance, which another load.seed changes"
        raise InputError(
            f"load.test_size {config.test_size} leaves {n_train} rows for training and {n_test}"
            f" for the test; at least {n_features + 1} and 2 are needed"
            + (chance if config.keys else "")
        )


def check_target(folder: Path, part: str) -> None:
    """Refuse a part in which the target is constant."""
    found = table.read(folder)
    if found.low[-1] == found.high[-1]:
        raise InputError(
            f"{found.schema.dataset}: {found.schema.target} is {found.low[-1]} in all {part} rows,"
            " so that R² is undefined"
        )


def main() -> str:
    config = params.read().load
    with (
        files.replacing_folder(TRAIN) as train,
        files.replacing_folder(TEST) as test,
        files.temporary_folder(TRAIN.parent) as scratch,
        engine.connected(config.dataset) as connection,
    ):
        schema, n_rows = datasets.gather(config, scratch, connection)
        split = keyed(config) if config.keys else drawn(n_rows, config, connection)
        first = f"{split.is_test} ORDER BY {split.order} LIMIT {SAMPLED}"
        n_train, n_test, _ = (
            table.write_rows(f"{split.join} WHERE {condition}", schema, path, connection)
            for condition, path in (
                (f"NOT ({split.is_test})", train / ROWS),
                (split.is_test, test / ROWS),
                (first, test / SAMPLE),
            )
        )
        check((n_train, n_test), len(schema.features), config)
        for folder, part in ((train, "training"), (test, "test")):
            table.write_names(schema, folder)
            check_target(folder, part)
    rows = f"{n_train:,} training rows and {n_test:,} test rows"
    return f"{rows}, {len(schema.features)} features"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Load)
