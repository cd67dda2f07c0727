"""Fit the linear regression on standardised features."""

from stages.project import cli, files
from stages.project.files import MODEL, TRAIN
from stages.regression.fit import fit
from stages.tables import table


def main() -> str:
    train = table.read(TRAIN)
    pipeline = fit(train.X, train.y)
    n_features, rank = len(train.features), pipeline["regression"].rank_
    if rank < n_features:
        cli.say(
            f"train: rank {rank} of {n_features} features: some are linear combinations of others"
        )
    files.save_joblib(pipeline, MODEL)
    return f"R² {pipeline.score(train.X, train.y):.6f} on {len(train.y):,} rows"


if __name__ == "__main__":
    cli.run(main, __doc__)
