"""Fit the linear regression on standardised features."""

import sys
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages import artifact, cli, table
from stages.artifact import MODEL, TRAIN
from stages.linear import MOMENT_DIGITS, significant

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def fit(X: NDArray[np.float64], y: NDArray[np.float64]) -> "Pipeline":
    """Fit a `StandardScaler` and a `LinearRegression`, every learned number rounded.

    The regression is fitted behind the rounded scaler, so that it belongs to it.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)

    Returns
    -------
    Pipeline
        With the steps `scaler` and `regression`, fitted.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(X)
    for name in ("mean_", "var_", "scale_"):
        setattr(scaler, name, significant(getattr(scaler, name), MOMENT_DIGITS))
    # the scaler has made a copy of X, so that the regression need not make another
    regression = LinearRegression(copy_X=False).fit(scaler.transform(X), y)
    regression.coef_ = significant(regression.coef_)
    regression.coef_[X.min(axis=0) == X.max(axis=0)] = 0.0  # where the fit may leave 1e-16
    regression.intercept_ = float(significant(regression.intercept_))
    del regression.singular_  # no prediction needs it, and of a singular table it is rounding noise
    return Pipeline([("scaler", scaler), ("regression", regression)])


def main() -> None:
    train = table.read(TRAIN)
    pipeline = fit(train.X, train.y)
    n_features, rank = len(train.features), pipeline["regression"].rank_
    if rank < n_features:
        print(
            f"train: the {n_features} features have rank {rank}: some follow from others, to a"
            " millionth, so of the weights that fit equally well these are the smallest",
            file=sys.stderr,
        )
    artifact.save_joblib(pipeline, MODEL)


if __name__ == "__main__":
    cli.run(main, __doc__)
