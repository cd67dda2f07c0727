"""Find the codes for the weights of a linear model: the best ones, by GPTQ, or each by itself.

On standardised features, errors δ in the weights make the training MSE grow by δᵀCδ = |Rδ|², with
C the correlations of the features and RᵀR = C, as the intercept is chosen anew. The best model of
n bits is

    argmin over codes c and exponents e of |Rδ|²,  δ_i = σ_i · ((2c_i - (2^n - 1)) · 2^-e_i - w_i),

with all exponents among 16 in a row, or a wider power of two where the deviations differ by more.
Every window of exponents leaves each weight a finite set of values, of which `closest` finds the
best combination. A better model has |δ_i| ≤ reach_i · √(the growth known), so that a weight has few
values to try, and few windows have any for all weights. No window beyond those of `windows` can
have the best model, so what the search returns is proven, unless its budget ends first.

References
----------
E. Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained
transformers", arXiv:2210.17323 (2022): rounds feature by feature and passes each error on.
J. Chen et al., "The geometry of LLM quantization: GPTQ as Babai's nearest plane algorithm",
arXiv:2507.18553 (2025).
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from stages.quantizer.closest import closest, reach
from stages.regression.fit import cholesky
from stages.regression.linear import Floats, LinearModel
from stages.regression.sums import Sums

Integers = NDArray[np.int64]

WINDOW = 16  # exponents, unless the deviations differ by more
VALUES = 4_096  # of one weight, that an enumeration may choose from
NODES = 4_000_000  # of all enumerations for one width, divided by the features
SMALL = 2.0**-30  # of a weight on standardised features and target: less counts as so much
SHARE = 100  # of what the weights add to the MSE, the intercept may add


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized model, and how far it is proven."""

    model: LinearModel  # whose weights are odd numbers of so many bits times powers of two
    optimal: bool  # no weights of so many bits make the training MSE grow less, intercept aside
    nodes: int  # visited for this proof, or before the budget ended


@dataclass(frozen=True, eq=False)
class Problem:
    """Weights to be quantized at one width."""

    weights: Floats  # on raw features, of shape (n,)
    sigma: Floats  # the features' standard deviations
    factor: Floats  # R, upper triangular with a positive diagonal
    reach: Floats  # |δ_i| ≤ reach_i · |Rδ|
    bits: int
    windows: Integers  # the exponents of each window to be tried, of shape (n_windows, width)

    def loss(self, values: Floats) -> float:
        """Return |Rδ|² for the quantized weights `values`."""
        delta = (values - self.weights) * self.sigma
        return float(np.cumsum(np.cumsum(self.factor * delta, axis=1)[:, -1] ** 2)[-1])


def quantize(coef: Floats, sums: Sums, bits: int, rounding: str) -> Quantized:
    """Quantize a linear model to 1 to 16 bits a weight.

    `coef` are the weights on raw features, and `sums` those of the training rows. `rounding` is
    'optimal', by which no model is worse than that of 'gptq', or 'nearest'.
    """
    correlation, (*_, sigma_y) = sums.correlation[:-1, :-1], sums.std
    _, unit = math.frexp(sigma_y)  # losses are squares of 2^unit, so that none underflows
    sigma = np.ldexp(sums.std[:-1], -unit)
    _, order = cholesky(correlation)
    order.reverse()  # small pivots last would let an enumeration go far before it costs much
    place = np.argsort(order)
    factor, _ = cholesky(correlation, order)
    far = reach(factor)
    # a weight that is nearly 0 counts as small, or its windows would have no end
    sizes = np.maximum(np.abs(coef), SMALL * math.ldexp(sigma_y, -unit) / sigma)
    tried = windows(sizes, sigma, far, bits)
    problem = Problem(coef[order], sigma[order], factor, far, bits, tried)
    start = nearest(problem) if rounding == "nearest" else gptq(problem)
    found, proven, nodes = optimal(problem) if rounding == "optimal" else (start, False, 0)
    models = []  # of both, as a coarser intercept may make the best weights the worse model
    for values in (found, start):
        growth = Fraction(problem.loss(values)) * Fraction(4) ** unit
        models.append(add_intercept(values[place], growth, sums))
    model, _ = min(models, key=itemgetter(1))
    return Quantized(model, proven, nodes)


def windows(sizes: Floats, sigma: Floats, reach: Floats, bits: int) -> Integers:
    """Lay out the windows of exponents that can have the best model, of shape (n_windows, width).

    A model that is better than one of zeros has |δ_i| < reach_i · |Rw|, and |Rw| ≤ Σ σ_j |w_j|, as
    the columns of R have the length 1. Let M be 8 n times the greatest reach. Before the first
    window all values exceed M times the largest weight: too far for the feature of the greatest σ.
    Behind the last all are less than 1/M of the smallest weight. As σ_j |w_j| ≤ reach_j · |Rw|, a
    model of them is |Rw| / 8 from one of zeros at the most, by which `optimal` rules it out.
    """
    spread, exponents = np.frexp(sigma)[1], np.frexp(sizes)[1]
    width = max(WINDOW, 1 << int(np.ptp(spread)).bit_length())
    _, margin = np.frexp(8 * len(reach) * reach.max())
    first = np.arange(-exponents.max() - width - margin, bits - exponents.min() + margin + 1)
    return first[:, None] + np.arange(width)


def round_each(targets: Floats, exponents: Integers, top: int) -> Floats:
    """Round targets, of shape (m,), to the nearest value that exponents, (m, width), allow each.

    A tie between two multipliers goes to the greater, between exponents to the lower.
    """
    multipliers = 2 * np.floor(np.ldexp(targets[:, None], exponents) / 2) + 1
    values = np.ldexp(multipliers.clip(-top, top), -exponents)
    nearest = np.abs(values - targets[:, None]).argmin(axis=1)
    return np.asarray(values[np.arange(len(targets)), nearest])


@lru_cache(maxsize=1)  # gptq and optimal start from the same
@np.errstate(over="ignore", invalid="ignore")
def planes(problem: Problem) -> tuple[Floats, Floats]:
    """Round from the last weight to the first in every window, passing each error on, as GPTQ does.

    Return the values, of shape (n_windows, n), and their losses.
    """
    windows, factor = problem.windows, problem.factor * problem.sigma
    values = np.zeros((len(windows), len(factor)))
    carried, losses = np.zeros_like(values), np.zeros(len(windows))
    for i in reversed(range(len(factor))):
        target = problem.weights[i] - carried[:, i] / factor[i, i]
        values[:, i] = round_each(target, windows, 2**problem.bits - 1)
        losses += ((values[:, i] - target) * factor[i, i]) ** 2
        carried[:, :i] += factor[:i, i] * (values[:, i] - problem.weights[i])[:, None]
    return values, losses


def gptq(problem: Problem) -> Floats:
    """Round by nearest-plane, in the window that it suits best."""
    values, losses = planes(problem)
    return np.asarray(values[np.argmin(losses)])


def nearest(problem: Problem) -> Floats:
    """Round each weight for itself, as if no features correlated."""
    return gptq(replace(problem, factor=np.eye(len(problem.factor))))


@np.errstate(over="ignore", invalid="ignore")
def optimal(problem: Problem) -> tuple[Floats, bool, int]:
    """Enumerate window after window, the most promising first, for a better model than by `gptq`.

    Return the best, whether that is proven, and the number of nodes visited.
    """
    _, losses = planes(problem)
    best = gptq(problem)
    factor, target = problem.factor * problem.sigma, problem.weights.tolist()
    proven, nodes, budget = True, 0, NODES // len(target)
    for k in np.argsort(losses, kind="stable"):
        loss = problem.loss(best)
        values, complete = candidates(problem, problem.windows[k], loss)
        proven = proven and complete
        if not values:
            continue
        found, complete, visited = closest(factor, target, values, loss, budget - nodes)
        nodes, proven = nodes + visited, proven and complete
        if found:
            best = min(best, np.array(found), key=problem.loss)
        if nodes >= budget and not proven:
            break
    # behind the last window |R(v - w)| ≥ |Rw| - Σ σ_i |v_i|, as the columns of R have the length 1
    zeros = math.sqrt(problem.loss(np.zeros_like(best)))
    largest = math.ldexp(2**problem.bits - 1, -int(problem.windows[-1, 0]))
    least = zeros - largest * float(np.cumsum(problem.sigma)[-1])
    return best, proven and least > math.sqrt(problem.loss(best)) * (1 + 1e-9), nodes


def candidates(
    problem: Problem, exponents: Integers, loss: float
) -> tuple[list[list[float]], bool]:
    """List the values in a window, ascending, that each weight can have in a better model.

    The list is empty if some weight has none. Return also whether it is complete: of a weight with
    more than `VALUES` values, only those near it are listed.
    """
    half, complete = 2 ** (problem.bits - 1), True
    radii = problem.reach * (math.sqrt(loss) * (1 + 1e-9))  # more than rounding errors take
    values = []
    for weight, radius in zip(problem.weights, radii / problem.sigma, strict=True):
        while True:  # multipliers are 2m + 1, m from first to end - 1
            first = np.ceil((np.ldexp(weight - radius, exponents) - 1) / 2).clip(-half, half)
            end = np.floor((np.ldexp(weight + radius, exponents) + 1) / 2).clip(-half, half)
            count = (end - first).clip(0).sum()
            if count <= VALUES:
                break
            radius, complete = radius / 2, False
        if not count:
            return [], complete
        runs = zip(first, end, exponents, strict=True)
        allowed = [np.ldexp(2 * np.arange(*m) + 1, -exponent) for *m, exponent in runs]
        values.append(np.sort(np.concatenate(allowed)).tolist())
    return values, complete


def add_intercept(values: Floats, growth: Fraction, sums: Sums) -> tuple[LinearModel, Fraction]:
    """Give weights an intercept of as few bits as do; return also what both add to the MSE."""
    best, _ = sums.moments(0.0, [*-values, 1.0])  # the mean that is left to the intercept
    finest = (Fraction(math.ulp(best)) / 2) ** 2
    intercept, error = shortest(best, max(growth / SHARE, finest))
    return LinearModel(values, float(intercept)), growth + error


def shortest(value: Fraction, tolerance: Fraction) -> tuple[Fraction, Fraction]:
    """Return k · 2^-e with the least e for which (k · 2^-e - value)² ≤ tolerance, and this square.

    As e is the least, k is odd, or 0.
    """
    exponent = -math.frexp(value)[1]
    while True:
        unit = Fraction(2) ** -exponent
        rounded = round(value / unit) * unit
        error = (rounded - value) ** 2
        if error <= tolerance:
            return rounded, error
        exponent += 1
