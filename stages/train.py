"""Fit the linear regression on standardised features, from the exact sums of the training rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from stages.columns.inputs import Schema
from stages.project import cli, files, params
from stages.project.cli import InputError, plural
from stages.project.files import COEFFICIENTS, DECIMALS, MODEL, SUMS, TRAIN
from stages.project.text import join, label
from stages.regression import inference, scores, sums
from stages.regression.fit import fit, fold, solve
from stages.regression.linear import Floats
from stages.regression.sums import DIGITS, WIDTH, Learned, Sums
from stages.tables import table

SMALL_STD = 0.01  # of a target
LEAK = 0.999  # share of the target's variance that one feature explains
FEW = 10  # training rows for each feature
INFLATED = 1000  # a variance: the other features explain 99.9 % of the feature's


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
    if cut := [name for name, n in zip(schema.columns, every.n_digits, strict=True) if n == DIGITS]:
        far = f"bits below 2^-{DIGITS * WIDTH} of the largest value, if any, are cut off"
        cli.say(f"train: {join(cut)}: {far}")
    if every.std[-1] < SMALL_STD:
        varies = f"{schema.target} varies by {every.std[-1]:.2g} only"
        cli.say(f"train: {varies}, and reports have {DECIMALS} decimals: choose a smaller unit")


def doubt(features: Sequence[str], found: Mapping[str, Floats], inverse: Floats) -> None:
    """Tell of features that nearly follow from others, and of weights that may be zero."""
    vif = found["vif"][1:]
    if inflated := [name for name, x in zip(features, vif.tolist(), strict=True) if x > INFLATED]:
        worst = int(vif.argmax())
        shares = np.abs((inverse[worst] * inverse).cumsum(axis=1)[:, -1])
        shares[worst] = 0
        nearly = f"{join(inflated)}: nearly combinations of others, of a VIF over {INFLATED:,}"
        pair = label(features[worst]), label(features[int(shares.argmax())])
        cli.say(f"train: {nearly}; {{}} goes most with {{}}".format(*pair))
    spans = (found["low"] * found["high"] <= 0)[1:].tolist()
    if unsure := [name for name, spanned in zip(features, spans, strict=True) if spanned]:
        count = f"{plural(len(unsure), 'weight')} of {len(features)} may be 0"
        cli.say(f"train: {count}, by their 95 % intervals: {join(unsure)}")


def main() -> str:
    config, train = params.read().train, table.read(TRAIN)
    folds = Sums.of_table(train, config.folds)
    every = sums.total(folds)
    solution, kept = solve(every, config.tolerance)
    if not kept:
        raise InputError(f"{TRAIN}: no feature varies, so that there is nothing to learn")
    remark(train.schema, every, kept)
    schema, found = train.schema.of(kept), inference.estimate(solution)
    doubt(schema.features, found, solution.inverse)
    pipeline = fit(solution)
    r2 = inference.cross_validate(folds, config.tolerance)
    learned = Learned(schema, [fold.of_features(kept) for fold in folds], r2)
    sums.save(learned, SUMS)
    files.save_joblib(pipeline, MODEL)
    files.save_csv(inference.COLUMNS, inference.list_rows(schema.features, found), COEFFICIENTS)
    known = solution.sums
    return f"R² {scores.r2(known, fold(pipeline, known)):.6f} on {known.n_rows:,} rows"


if __name__ == "__main__":
    cli.run(main, __doc__)
