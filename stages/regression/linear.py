"""A linear model: one weight a feature and an intercept, computed the same way on every machine."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.columns.sql import double

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """intercept + Σ coef_j · x_j, on raw features and in the unit of the target."""

    coef: Floats  # of shape (n_features,)
    intercept: float

    def predict(self, X: Floats) -> Floats:
        """Predict for `X` of shape (n_rows, n_features).

        BLAS adds in an order that depends on the CPU; here it is from left to right, as in SQL.
        """
        prediction = np.full(len(X), self.intercept)
        for weight, feature in zip(self.coef.tolist(), X.T, strict=True):
            prediction += weight * feature
        return prediction

    def sql(self, features: Iterable[str]) -> str:
        """Return the same prediction in SQL."""
        terms = (f"{double(w)} * {x}" for w, x in zip(self.coef.tolist(), features, strict=True))
        return " + ".join([double(self.intercept), *terms])


def largest_difference(one: LinearModel, other: LinearModel, low: Floats, high: Floats) -> float:
    """Return a bound of |one(x) - other(x)| over the box low ≤ x ≤ high.

    Its maximum is at a corner: |δ₀ + Σ δ_j · centre_j| + Σ |δ_j| · halfwidth_j, with the weights'
    differences δ and the intercepts' δ₀. To that comes what rounding can add to two sums of n + 1
    terms (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    """
    delta = one.coef - other.coef
    centre = sum((delta * (low + high) / 2).tolist(), one.intercept - other.intercept)
    spread = sum((np.abs(delta) * (high - low) / 2).tolist())
    furthest = np.maximum(np.abs(low), np.abs(high))
    size = sum(abs(m.intercept) + sum((np.abs(m.coef) * furthest).tolist()) for m in (one, other))
    rounding = (len(delta) + 2) * np.finfo(np.float64).eps * size
    return float(abs(centre) + spread + rounding)
