"""Fit the linear regression on standardised features, from the exact sums of the training rows."""

from stages.columns.inputs import Schema
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import COEFFICIENTS, DECIMALS, MODEL, SUMS, TRAIN
from stages.project.text import join, label
from stages.regression import inference, scores, sums
from stages.regression.fit import fit, fold, solve
from stages.regression.sums import DIGITS, WIDTH, Learned, Sums
from stages.tables import table

SMALL_STD = 0.01  # of a target
LEAK = 0.999  # share of the target's variance that one feature explains


def remark(schema: Schema, every: Sums, kept: list[int]) -> None:
    """Tell of features that are left out or tell the target, and of too large a unit."""
    if left_out := [name for j, name in enumerate(schema.features) if j not in kept]:
        cli.say(f"train: left out, as constant or following from others: {join(left_out)}")
    explained = zip(schema.features, every.correlation[:-1, -1] ** 2, strict=True)
    if leaks := [name for name, share in explained if share > LEAK]:
        alone = f"{join(leaks)} alone explains more than {100 * LEAK:g} % of {schema.target}"
        cli.say(f"train: {alone}: leave it out if nobody knows it before {schema.target}")
    if cut := [name for name, n in zip(schema.columns, every.n_digits, strict=True) if n == DIGITS]:
        far = f"bits below 2^-{DIGITS * WIDTH} of the largest value, if any, are cut off"
        cli.say(f"train: {join(cut)}: {far}")
    if every.std[-1] < SMALL_STD:
        varies = f"{schema.target} varies by {every.std[-1]:.2g} only"
        cli.say(f"train: {varies}, and reports have {DECIMALS} decimals: choose a smaller unit")


def main() -> str:
    config, train = params.read().train, table.read(TRAIN)
    folds = Sums.of_table(train, config.folds)
    every = sums.total(folds)
    solution, kept = solve(every, config.tolerance)
    if not kept:
        raise InputError(f"{TRAIN}: no feature varies, so that there is nothing to learn")
    remark(train.schema, every, kept)
    schema, found = train.schema.of(kept), inference.estimate(solution)
    pipeline = fit(solution)
    r2 = inference.cross_validate(folds, config.tolerance)
    sums.save(Learned(schema, [fold.of_features(kept) for fold in folds], r2), SUMS)
    files.save_joblib(pipeline, MODEL)
    rows = [*inference.list_rows(schema.features, found)]
    files.save_csv(inference.COLUMNS, rows, COEFFICIENTS)
    told = [dict(zip(inference.COLUMNS, row, strict=True)) for row in rows]
    known, vif, inverse = solution.sums, found["vif"][1:], solution.inverse
    for each in inference.list_doubts(told, known.n_rows):
        cli.say(f"train: {each}")
    if vif.max() > inference.INFLATED:  # without which other would it be least?
        shares = (inverse[vif.argmax()] * inverse).cumsum(axis=1)[:, -1] ** 2 / vif
        *_, other, worst = (label(schema.features[j]) for j in shares.argsort())
        cli.say(f"train: {worst} goes most with {other}")
    return f"R² {scores.r2(known, fold(pipeline, known)):.6f} on {known.n_rows:,} rows"


if __name__ == "__main__":
    cli.run(main, __doc__)
