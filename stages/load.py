"""Load the data set, check it, and split it into a training and a test table."""

from pathlib import Path

from stages.columns import engine
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import TEST, TRAIN
from stages.project.params import Load
from stages.tables import table
from stages.tables.encoding import check_gaps, reasons
from stages.tables.split import SAMPLED, prepared
from stages.tables.table import SAMPLE


def check(n_train: int, n_test: int, n_features: int, config: Load) -> None:
    """Refuse fewer training rows than coefficients, or fewer test rows than R² needs."""
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
        engine.connect(config.dataset) as connection,
    ):
        found, split, encoding = prepared(config, scratch, connection)
        if encoding.left_out:
            cli.say(f"load: {found.dataset}: left out: {reasons(encoding.left_out)}")
        check_gaps(encoding, found.n_rows)
        schema, kept = encoding.schema, encoding.kept
        n_train, n_test = (
            table.write(f"{rows} AND {kept}", schema, folder, found.engine)
            for rows, folder in ((split.training, train), (split.test, test))
        )
        check(n_train, n_test, len(schema.features), config)
        n_rows = n_train + n_test + encoding.dropped
        if n_rows != found.n_rows:
            raise engine.changed(found.engine.name, found.n_rows, n_rows)
        first = f"{split.test} AND {kept} ORDER BY {split.order} LIMIT {SAMPLED}"
        table.write_sample(first, schema, test / SAMPLE, found.engine)
        for folder, part in ((train, "training"), (test, "test")):
            check_target(folder, part)
    rows = f"{n_train:,} training rows and {n_test:,} test rows"
    return f"{rows}, {len(schema.features)} features"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Load)
