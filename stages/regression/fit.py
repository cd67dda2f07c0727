"""Fit the linear regression on standardised features, and fold the scaler into it."""

import math
from typing import TYPE_CHECKING

from stages.regression.linear import MOMENT_DIGITS, Floats, LinearModel, significant

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def fit(X: Floats, y: Floats) -> "Pipeline":
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


def fold(pipeline: "Pipeline") -> LinearModel:
    """Fold the scaler into the regression: (x - μ) / σ · w + b = x · w/σ + (b - Σ μ · w/σ).

    The intercept is not rounded again, for with a feature that is far from 0 but varies little it
    is far larger than what it predicts.
    """
    scaler, regression = pipeline["scaler"], pipeline["regression"]
    coef = significant(regression.coef_ / scaler.scale_)
    intercept = math.fsum([regression.intercept_, *(-coef * scaler.mean_).tolist()])
    return LinearModel(coef, intercept)
