"""The closest point of a product of finite sets: exact, by Schnorr–Euchner enumeration.

Rounding weights to codes one by one ignores that features correlate: an error in one weight can
be made good by another. With C the features' correlations, errors δ cost δᵀCδ = |Rδ|², RᵀR = C,
and the best codes are those of a closest-vector problem.

References
----------
C. P. Schnorr, M. Euchner, "Lattice basis reduction: improved practical algorithms and solving
subset sum problems", Mathematical Programming 66 (1994), 181-199.
"""

import math
from bisect import bisect_right

import numpy as np

from stages.regression.linear import Floats


def reach(factor: Floats) -> Floats:
    """Return how far each δ_i can be from 0 while |Rδ| ≤ 1: the bounding box of an ellipsoid.

    By Cauchy–Schwarz |δ_i| = |eᵢᵀR⁻¹ · Rδ| ≤ |row i of R⁻¹|.
    """
    inverse = np.eye(len(factor))
    for i in reversed(range(len(factor))):
        inverse[i] /= factor[i, i]
        inverse[:i] -= factor[:i, i, None] * inverse[i]
    return np.asarray(np.sqrt(sum((inverse * inverse).T)))


def closest(
    factor: Floats, target: list[float], values: list[list[float]], bound: float, budget: int
) -> tuple[list[float] | None, bool, int]:
    """Find argmin |R (v - target)|² over v ∈ values[0] × … × values[n-1], if below `bound`.

    R is upper triangular with a positive diagonal, so the last coordinates fix the last terms of
    the sum, and each value of a coordinate adds a square that grows with its distance from one
    centre. Depth first, the values of a coordinate are visited by that distance, the lower one
    on a tie, and left once the sum reaches the best one known. That leaves out no better
    point, as terms are never negative; of equally good points the first one visited is kept.

    `factor` is R, of shape (n, n), `target` has n numbers and `values` n lists. At most `budget`
    values are visited, of which exponentially many in n may be needed. Return v, or None if none
    is below `bound`; whether the search came to its end; and how many values it visited.
    """
    n = len(target)
    pivots = np.diag(factor).tolist()
    ratios = (factor / np.diag(factor)[:, None]).tolist()
    centre, delta, point = [0.0] * n, [0.0] * n, [0.0] * n
    cost = [0.0] * (n + 1)  # cost[i] is that of the coordinates i and beyond
    lower, upper = [0] * n, [0] * n  # the next values to visit on both sides of the centre
    best, nodes, i, is_new = None, 0, n - 1, True
    while i < n:
        column = values[i]
        if is_new:
            x = target[i]
            for j in range(i + 1, n):
                x -= ratios[i][j] * delta[j]
            centre[i], upper[i] = x, bisect_right(column, x)
            lower[i], is_new = upper[i] - 1, False
        low, high = lower[i], upper[i]
        if low < 0 and high == len(column):
            i += 1
            continue
        if nodes >= budget:
            return best, False, nodes
        nodes += 1
        below = centre[i] - column[low] if low >= 0 else math.inf
        above = column[high] - centre[i] if high < len(column) else math.inf
        if below <= above:
            value, lower[i] = column[low], low - 1
        else:
            value, upper[i] = column[high], high + 1
        error = pivots[i] * (value - centre[i])
        cost[i] = cost[i + 1] + error * error
        if cost[i] >= bound:  # as for all values that are farther
            i += 1
            continue
        point[i], delta[i] = value, value - target[i]
        if i > 0:
            i, is_new = i - 1, True
        else:
            best, bound, i = point.copy(), cost[0], 1
    return best, True, nodes
