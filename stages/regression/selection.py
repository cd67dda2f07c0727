"""Which columns to add to a model: forward selection by folds, from their exact sums alone."""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev

import numpy as np

from stages.regression.inference import cross_validate
from stages.regression.linear import Floats
from stages.regression.sums import Sums, leave_out

LEAST = 1e-9  # share of its variance that the columns of a model leave unexplained of one more


def select(
    folds: Sequence[Sums], n_columns: int, tolerance: float, most: int
) -> Iterator[tuple[list[int], list[float]]]:
    """Yield the first columns and R² in each fold, then again and again with the best column more.

    That is the one with the greatest mean R². It ends after `most` columns, or where the next gains
    no more than a standard error of the mean R² before it (the rule of Breiman, Friedman, Olshen,
    Stone, Classification and Regression Trees, 1984, section 3.4.3).
    """
    pairs = leave_out(folds)
    chosen, others = [*range(n_columns)], [*range(n_columns, len(folds[0].low) - 1)]
    r2 = _score(folds, chosen, tolerance)
    yield chosen, r2
    for _ in range(min(most, len(others))):
        best = others.pop(int(score_each(pairs, chosen, others).argmax()))
        before, chosen = r2, [*chosen, best]
        r2 = _score(folds, chosen, tolerance)
        if fmean(r2) - fmean(before) <= stdev(before) / math.sqrt(len(before)):
            return
        yield chosen, r2


def _score(folds: Sequence[Sums], columns: Sequence[int], tolerance: float) -> list[float]:
    return cross_validate([fold.of_features(columns) for fold in folds], tolerance)


def score_each(
    pairs: Sequence[tuple[Sums, Sums]], chosen: Sequence[int], others: Sequence[int]
) -> Floats:
    """Return the mean R² in the folds with each of the other columns besides those chosen.

    `pairs` are those of `leave_out`. In doubles, and -inf for a column that nearly follows from the
    chosen ones.
    """
    found = np.zeros(len(others))
    b, t = np.array(chosen), np.array([*others, len(pairs[0][0].low) - 1])
    for fold, rest in pairs:
        unit = np.where(rest.std > 0, rest.std, 1)
        std, apart = fold.std / unit, (fold.means - rest.means).astype(float) / unit
        # mean products of deviations from the means of the rest, there and in the fold
        inside, outside = rest.correlation, fold.correlation * np.outer(std, std)
        outside += np.outer(apart, apart)
        # what the chosen columns leave of the others and of the target: t - Gᵀb
        G, *_ = np.linalg.lstsq(inside[np.ix_(b, b)], inside[np.ix_(b, t)], rcond=None)
        left = inside[np.ix_(t, t)] - G.T @ inside[np.ix_(b, t)]
        mixed = outside[:, t] - outside[:, b] @ G
        off = mixed[t] - G.T @ mixed[b]
        size = left.diagonal()[:-1]
        weight = left[:-1, -1] / np.where(size > LEAST, size, np.inf)
        squared = off[-1, -1] - 2 * weight * off[:-1, -1] + weight**2 * off.diagonal()[:-1]
        found += np.where(size > LEAST, 1 - squared / std[-1] ** 2, -np.inf) / len(pairs)
    return found
