"""The moments of the training rows: all that the quantizer needs to know of the data."""

from dataclasses import dataclass
from typing import Self

from stages.regression.linear import MOMENT_DIGITS, Floats, significant


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and deviations to 12 significant digits, and correlations to 9.

    Attributes
    ----------
    x_mean : ndarray of shape (n_features,)
    x_std : ndarray of shape (n_features,)
        Of the population; 1 for a constant feature, as in scikit-learn's StandardScaler.
    correlation : ndarray of shape (n_features, n_features)
    """

    x_mean: Floats
    x_std: Floats
    correlation: Floats

    @classmethod
    def of(cls, X: Floats) -> Self:
        """Compute the moments of `X`, of shape (n_rows, n_features)."""
        x_mean = X.mean(axis=0)
        x_std = X.std(axis=0)
        x_std[X.min(axis=0) == X.max(axis=0)] = 1.0  # where rounding may leave 1e-17, not 0
        Z = X - x_mean
        Z /= x_std
        return cls(
            significant(x_mean, MOMENT_DIGITS),
            significant(x_std, MOMENT_DIGITS),
            significant(Z.T @ Z / len(Z)),
        )
