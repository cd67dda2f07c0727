"""Fit the linear regression on standardised features, from the exact sums of the training rows."""

from stages.columns.inputs import Schema
from stages.project import cli, files
from stages.project.cli import InputError, plural
from stages.project.files import DECIMALS, MODEL, SUMS, TRAIN
from stages.project.text import join
from stages.regression import scores, sums
from stages.regression.fit import fit, fold, independent
from stages.regression.sums import Sums
from stages.tables import table

SMALL_STD = 0.01  # of a target
LEAK = 0.999  # share of the target's variance that one feature explains
FEW = 10  # training rows for each feature


def remark(schema: Schema, every: Sums, kept: list[int]) -> None:
    """Tell of features that are left out or tell the target, of few rows and too large a unit."""
    if left_out := [name for j, name in enumerate(schema.features) if j not in kept]:
        cli.say(f"train: left out, as constant or following from others: {join(left_out)}")
    explained = zip(schema.features, every.correlation[:-1, -1] ** 2, strict=True)
    if leaks := [name for name, share in explained if share > LEAK]:
        alone = f"{join(leaks)} alone explains more than {100 * LEAK:g} % of {schema.target}"
        cli.say(f"train: {alone}: leave it out if nobody knows it before {schema.target}")
    if every.n_rows < FEW * len(kept):
        few = f"{every.n_rows:,} rows are few for {plural(len(kept), 'feature')}, fewer than {FEW}"
        cli.say(f"train: {few} for each: expect a lower R² on other rows")
    if every.std[-1] < SMALL_STD:
        varies = f"{schema.target} varies by {every.std[-1]:.2g} only"
        cli.say(f"train: {varies}, and reports have {DECIMALS} decimals: choose a smaller unit")


def main() -> str:
    train = table.read(TRAIN)
    every = Sums.of_table(train)
    if not (kept := independent(every)) or not every.variances[-1]:
        what = f"{train.schema.target} varies too little" if kept else "no feature varies"
        raise InputError(f"{TRAIN}: {what}, so that there is nothing to learn")
    remark(train.schema, every, kept)
    used = every.of_columns([*kept, len(train.schema.features)])
    pipeline = fit(used)
    sums.save(used, train.schema.of(kept), SUMS)
    files.save_joblib(pipeline, MODEL)
    return f"R² {scores.r2(used, fold(pipeline, used)):.6f} on {used.n_rows:,} rows"


if __name__ == "__main__":
    cli.run(main, __doc__)
