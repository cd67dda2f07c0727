"""Load the data set, check it, and split it into a training and a test table."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace

from stages.project import cli, params
from stages.project.cli import InputError
from stages.project.files import DECIMALS, TEST, TRAIN
from stages.tables import datasets, table
from stages.tables.table import Table

SMALL_STD = 0.01  # of a target


def split(whole: Table, test_size: float, seed: int) -> tuple[Table, Table]:
    """Split the rows of `whole` at random, `test_size` of them for the test.

    Raises
    ------
    InputError
        Fewer training rows than coefficients, fewer test rows than the two that R² needs, or a
        part in which the target is constant.
    """
    from sklearn.model_selection import train_test_split

    n_rows, n_features = whole.X.shape
    n_test = math.ceil(test_size * n_rows)  # as train_test_split rounds
    if n_test < 2 or n_rows - n_test <= n_features:
        raise InputError(
            f"load.test_size {test_size} leaves {n_rows - n_test} rows for training and {n_test}"
            f" for the test; at least {n_features + 1} and 2 are needed"
        )
    X_train, X_test, y_train, y_test = train_test_split(
        whole.X, whole.y, test_size=test_size, random_state=seed
    )
    for part, y in (("training", y_train), ("test", y_test)):
        if y.min() == y.max():
            raise InputError(
                f"{whole.dataset}: {whole.target} is {y[0]} in all {part} rows, so that R² is"
                " undefined"
            )
    return replace(whole, X=X_train, y=y_train), replace(whole, X=X_test, y=y_test)


def remarks(train: Table) -> Iterator[str]:
    """Tell of features that are constant, or there twice, and of a target in too large a unit."""
    if train.y.std() < SMALL_STD:
        yield (
            f"{train.target} varies by {train.y.std():.2g} only, and reports have {DECIMALS}"
            " decimals: choose a smaller unit"
        )
    same: dict[bytes, list[str]] = {}
    for name, values in zip(train.features, train.X.T, strict=True):
        if values.min() == values.max():
            yield f"{name} is {values[0]} in all training rows: it teaches nothing"
        else:
            same.setdefault(hashlib.sha256(values.tobytes()).digest(), []).append(name)
    for names in same.values():
        if len(names) > 1:
            yield f"{', '.join(names)} are the same in all training rows: they share one weight"


def main() -> str:
    config = params.read().load
    whole = datasets.read(config.dataset, config.target, config.features, config.unit)
    train, test = split(whole, config.test_size, config.seed)
    for remark in remarks(train):
        cli.say(f"load: {remark}")
    table.write(train, TRAIN)
    table.write(test, TEST)
    rows = f"{len(train.y):,} training rows and {len(test.y):,} test rows"
    return f"{rows}, {len(train.features)} features"


if __name__ == "__main__":
    cli.run(main, __doc__, params.Load)
