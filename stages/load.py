"""Load the data set, check it, and split it into a training and a test table."""

from collections.abc import Sequence
from pathlib import Path

from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.project.params import Load
from stages.tables import engine, table
from stages.tables.encoding import check_gaps, reasons
from stages.tables.split import SAMPLED, prepared
from stages.tables.table import ROWS, SAMPLE


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
        found, split, encoding = prepared(config, scratch, connection)
        if encoding.left_out:
            cli.say(f"load: {found.dataset}: left out: {reasons(encoding.left_out)}")
        check_gaps(encoding, found.n_rows)
        schema, kept = encoding.schema, encoding.kept
        n_train, n_test = (
            table.write_rows(f"{rows} AND {kept}", schema, path, connection)
            for rows, path in ((split.training, train / ROWS), (split.test, test / ROWS))
        )
        first = f"{split.test} AND {kept} ORDER BY {split.order} LIMIT {SAMPLED}"
        table.write_sample(first, schema, test / SAMPLE, connection)
        check((n_train, n_test), len(schema.features), config)
        for folder, part in ((train, "training"), (test, "test")):
            table.write_names(schema, folder)
            check_target(folder, part)
    rows = f"{n_train:,} training rows and {n_test:,} test rows"
    return f"{rows}, {len(schema.features)} features"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Load)
