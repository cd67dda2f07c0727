"""Fit the linear regression on standardised features."""

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
    # a copy of X is what was just made; scikit-learn would make another
    regression = LinearRegression(copy_X=False).fit(scaler.transform(X), y)
    regression.coef_ = significant(regression.coef_)
    # a constant feature has no weight, where the fit may leave 1e-16
    regression.coef_[(X.min(axis=0) == X.max(axis=0)) | (scaler.var_ == 0)] = 0.0
    regression.intercept_ = float(significant(regression.intercept_))
    # by-products of the fit that no prediction needs; of a singular table they are rounding noise
    del regression.singular_, regression.rank_
    return Pipeline([("scaler", scaler), ("regression", regression)])


def main() -> None:
    train = table.read(TRAIN)
    artifact.save_joblib(fit(train.X, train.y), MODEL)


if __name__ == "__main__":
    cli.run(main, __doc__)
