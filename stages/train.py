"""Fit the linear regression on standardised features, from the exact sums of the training rows."""

from collections.abc import Iterator

from stages.columns.inputs import Schema
from stages.project import cli, files
from stages.project.cli import InputError
from stages.project.files import DECIMALS, MODEL, SUMS, TRAIN
from stages.project.text import listed
from stages.regression import scores, sums
from stages.regression.fit import fit, fold, independent
from stages.regression.sums import Sums
from stages.tables import table

SMALL_STD = 0.01  # of a target


def remarks(schema: Schema, every: Sums, kept: list[int]) -> Iterator[str]:
    """Tell of features that are left out, and of a target in too large a unit."""
    left_out = [j for j in range(len(schema.features)) if j not in kept]
    constant = [schema.features[j] for j in left_out if every.variances[j] == 0]
    dependent = [schema.features[j] for j in left_out if every.variances[j] > 0]
    if constant:
        yield f"left out, as they do not vary by 2^-53 of their size: {listed(constant)}"
    if dependent:
        yield f"left out, as they follow from the other features: {listed(dependent)}"
    if every.std[-1] < SMALL_STD:
        varies = f"{schema.target} varies by {every.std[-1]:.2g} only"
        yield f"{varies}, and reports have {DECIMALS} decimals: choose a smaller unit"


def main() -> str:
    train = table.read(TRAIN)
    with files.reading(TRAIN):
        every = Sums.of_table(train)
    kept = independent(every)
    if not kept or not every.variances[-1]:
        what = f"{train.schema.target} varies too little" if kept else "no feature varies"
        raise InputError(f"{TRAIN}: {what}, so that there is nothing to learn")
    for remark in remarks(train.schema, every, kept):
        cli.say(f"train: {remark}")
    schema = train.schema.of(kept)
    used = every.of_columns([*kept, len(train.schema.features)])
    pipeline = fit(used)
    sums.save(used, schema, SUMS)
    files.save_joblib(pipeline, MODEL)
    return f"R² {scores.r2(used, fold(pipeline, used)):.6f} on {used.n_rows:,} rows"


if __name__ == "__main__":
    cli.run(main, __doc__)
