"""Find the codes for the weights of a linear model: the best ones, by GPTQ, or each by itself.

On standardised features, errors δ in the weights make the training MSE grow by δᵀCδ = |Rδ|², with
C the correlations of the features and RᵀR = C, as the intercept is chosen anew. The best model of
n bits is

    argmin over codes c and exponents e of |Rδ|²,  δ_i = σ_i · ((2c_i - (2^n - 1)) · 2^-e_i - w_i),

with all exponents among 16 in a row, or a wider power of two where the deviations differ by more.
Every window of exponents leaves each weight a finite set of values. A model that is better than one
known has |δ_i| ≤ reach_i · √(the growth known): so few windows can hold one (`plausible`), each
weight has few values there (`candidates`), and `closest` finds the best combination of these. That
is proven, unless the budget of the work ends first. Then what `polish` found by moving weights in
pairs is often far better than what an enumeration reaches.

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
BUDGET = 6_000_000  # of the work for one width: numbers that it looks at, counted, not timed
STEP, NODE = 1_000, 10  # what a step of `polish`, and a node of `closest`, costs besides numbers
PART = 3  # a third of what is left may be spent at once, so that no window takes all
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
    correlation: Floats  # of the features
    factor: Floats  # R, upper triangular with a positive diagonal
    reach: Floats  # |δ_i| ≤ reach_i · |Rδ|
    exponents: Integers  # for each weight, the one at which it takes all bits
    bits: int
    width: int  # exponents of a window

    @property
    def middle(self) -> int:
        """The first exponent of the window around that of the weight with the largest effect."""
        return int(self.exponents[np.argmax(np.abs(self.weights) * self.sigma)]) - self.width // 2

    def radii(self, loss: float) -> Floats:
        """Return how far a better model's weights can be from these, with rounding errors."""
        return np.asarray(self.reach / self.sigma * (math.sqrt(loss) * (1 + 1e-9)))

    def loss(self, values: Floats) -> float:
        """Return |Rδ|² for the quantized weights `values`."""
        delta = (values - self.weights) * self.sigma
        return float(np.cumsum(np.cumsum(self.factor * delta, axis=1)[:, -1] ** 2)[-1])


def quantize(coef: Floats, sums: Sums, bits: int, rounding: str) -> Quantized:
    """Quantize a linear model to 1 to 16 bits a weight.

    `coef` are the weights on raw features, and `sums` those of the training rows. `rounding` is
    'nearest', 'gptq' or 'optimal', whose model is never worse than theirs, intercept included.
    """
    problem, place, unit = pose(coef, sums, bits)
    found, proven, nodes = [nearest(problem) if rounding == "nearest" else gptq(problem)], False, 0
    if rounding == "optimal":
        best, proven, nodes = search(problem, found[0])
        # a coarser intercept may make the best weights the worse model
        found = [best, *found, nearest(problem)]
    losses, models = [*map(problem.loss, found)], []
    for values, loss in zip(found, losses, strict=True):
        growth = Fraction(loss) * Fraction(4) ** unit
        models.append((*add_intercept(values[place], growth, sums), loss))
    model, _, loss = min(models, key=itemgetter(1))
    return Quantized(model, proven and loss == min(losses), nodes)


def pose(coef: Floats, sums: Sums, bits: int) -> tuple[Problem, Integers, int]:
    """Return the problem, where in it each feature is, and e where losses are in units of 4^e."""
    correlation, (*_, sigma_y) = sums.correlation[:-1, :-1], sums.std
    _, unit = math.frexp(sigma_y)  # so that no loss underflows
    sigma = np.ldexp(sums.std[:-1], -unit)
    _, order = cholesky(correlation)
    order.reverse()  # small pivots last would let an enumeration go far before it costs much
    factor, _ = cholesky(correlation, order)
    # a weight that is nearly 0 counts as small, or its windows would have no end
    sizes = np.maximum(np.abs(coef), SMALL * math.ldexp(sigma_y, -unit) / sigma)
    exponents = bits - np.frexp(sizes)[1]
    width = max(WINDOW, 1 << int(np.ptp(np.frexp(sigma)[1])).bit_length())
    matrices = correlation[np.ix_(order, order)], factor, reach(factor)
    problem = Problem(coef[order], sigma[order], *matrices, exponents[order], bits, width)
    return problem, np.argsort(order), unit


def plausible(problem: Problem, loss: float) -> tuple[Integers, bool]:
    """Return the first exponents of the windows that can hold a model of at most this loss.

    Such a model has |δ_i| within `radii`: its last exponent must be fine enough for that, and its
    first one coarse enough. Where radii exceed their weights, that gives no end. Then this does:
    |R(v - w)| ≥ |Rw| - Σ σ_i |v_i|, as the columns of R have the length 1. Return also whether
    these are all: of weights that are all 0, ever finer ones are ever better, and with hundreds of
    features the budget allows some, those around the exponents of the largest effect.
    """
    sizes, radii = np.abs(problem.weights), problem.radii(loss)
    begin = 2 - int(np.frexp(sizes + radii)[1].min()) - problem.width
    zeros = math.sqrt(problem.loss(np.zeros_like(sizes))) - math.sqrt(loss) * (1 + 1e-9)
    least = max(np.max(sizes - radii), zeros / float(np.cumsum(problem.sigma)[-1]))
    last = problem.bits - int(np.frexp(least)[1]) if least > 0 else problem.exponents.max()
    first = np.arange(begin, max(begin, last) + 1)
    most = max(1, BUDGET // 4 // (len(sizes) * (problem.bits + 2)))
    if len(first) > most:
        return first[np.argsort(np.abs(first - problem.middle), kind="stable")[:most]], False
    return first, bool(least > 0)


def round_to(targets: Floats, first: Integers, problem: Problem) -> Floats:
    """Round targets, of shape (m,), to the nearest value of the windows that begin at `first`.

    That has the finest exponent at which a target fits into all bits, or one of those around.
    A tie between two multipliers goes to the greater, between exponents to the lower.
    """
    sizes = np.maximum(np.abs(targets), np.finfo(float).tiny)  # next to 0 is the finest
    around = (problem.bits - np.frexp(sizes)[1])[:, None] + np.arange(-problem.bits, 2)
    exponents = around.clip(first[:, None], first[:, None] + problem.width - 1)
    multipliers = 2 * np.floor(np.ldexp(targets[:, None], exponents) / 2) + 1
    top = 2**problem.bits - 1
    values = np.ldexp(multipliers.clip(-top, top), -exponents)
    nearest = np.abs(values - targets[:, None]).argmin(axis=1)
    return np.asarray(values[np.arange(len(targets)), nearest])


@np.errstate(over="ignore", invalid="ignore")
def planes(problem: Problem, first: Integers) -> tuple[Floats, Floats]:
    """Round from the last weight to the first in every window, passing each error on, as GPTQ does.

    `first` are the first exponents of the windows. Return the values, of shape (n_windows, n), and
    their losses.
    """
    factor = problem.factor * problem.sigma
    values = np.zeros((len(first), len(factor)))
    carried, losses = np.zeros_like(values), np.zeros(len(first))
    for i in reversed(range(len(factor))):
        target = problem.weights[i] - carried[:, i] / factor[i, i]
        values[:, i] = round_to(target, first, problem)
        losses += ((values[:, i] - target) * factor[i, i]) ** 2
        carried[:, :i] += factor[:i, i] * (values[:, i] - problem.weights[i])[:, None]
    return values, losses


def gptq(problem: Problem) -> Floats:
    """Round by nearest-plane, in the window that it suits best."""
    middle, half = problem.middle, problem.width // 2
    some, losses = planes(problem, np.arange(middle - half, middle + half + 1))
    best = some[np.argmin(losses)]
    first, _ = plausible(problem, problem.loss(best))
    others, losses = planes(problem, first)
    return np.asarray(min(best, others[np.argmin(losses)], key=problem.loss))


def nearest(problem: Problem) -> Floats:
    """Round each weight for itself, as if no features correlated."""
    n = len(problem.weights)
    return gptq(replace(problem, factor=np.eye(n), reach=np.ones(n)))


def polish(problem: Problem, values: Floats, first: int, budget: int) -> tuple[Floats, int]:
    """Move one weight to a neighbour in the window, or not, and another one to what suits it then.

    Weight after weight, until none helps. Return the weights, and what this took of the budget.
    """
    C, weights, sigma = problem.correlation, problem.weights, problem.sigma
    n, loss = len(weights), problem.loss(values)
    window = np.full(3 * n, first)
    since, i, cost = 0, 0, 0
    while since < n and cost < budget:
        cost += STEP + n * (3 * (problem.bits + 2) + n)
        delta = (values - weights) * sigma
        slope = np.cumsum(C * delta, axis=1)[:, -1]  # half the gradient of δᵀCδ
        finest = min(problem.bits - math.frexp(values[i])[1], first + problem.width - 1)
        # the next values, one or two of the finest units away, and itself
        steps = round_to(values[i] + np.ldexp([-1.25, 1.25, 0.0], -finest), window[:3], problem)
        moves = (steps - values[i]) * sigma[i]
        # of shape (3, n): after each of these moves, what suits another weight j, and its gain
        slopes = slope + moves[:, None] * C[i]
        targets = weights + (delta - slopes) / sigma
        best = round_to(targets.ravel(), window, problem).reshape(3, n)
        others = (best - values) * sigma
        growth = others * (others + 2 * slopes)
        growth[:, i] = 0
        growth += (moves * (moves + 2 * slope[i]))[:, None]
        k, j = divmod(int(growth.argmin()), n)
        moved = values.copy()
        moved[j], moved[i] = best[k, j], steps[k]
        since, i = since + 1, (i + 1) % n
        if (found := problem.loss(moved)) < loss:
            values, loss, since = moved, found, 0
    return values, cost


@np.errstate(over="ignore", invalid="ignore")
def search(problem: Problem, best: Floats) -> tuple[Floats, bool, int]:
    """Search window after window, the most promising first, for a better model than `best`.

    Return the best, whether that is proven, and the number of nodes visited.
    """
    factor, target = problem.factor * problem.sigma, problem.weights.tolist()
    each = NODE + len(target)
    nodes, budget, done = 0, BUDGET, dict[int, bool]()
    first, whole = plausible(problem, problem.loss(best))
    while budget > 0 and (fresh := sorted({*first.tolist()} - done.keys())):
        rounded, losses = planes(problem, np.array(fresh))
        for k in np.argsort(losses, kind="stable"):
            if budget <= 0:
                break
            values, complete, cost = candidates(problem, fresh[k], problem.loss(best))
            budget -= cost
            if values:
                polished, cost = polish(problem, rounded[k], fresh[k], budget // PART)
                budget -= cost
                if problem.loss(polished) < problem.loss(best):
                    best = polished
                    values, complete, cost = candidates(problem, fresh[k], problem.loss(best))
                    budget -= cost
            if values:
                most = max(0, budget // PART // each)
                found, ended, visited = closest(factor, target, values, problem.loss(best), most)
                nodes, budget = nodes + visited, budget - visited * each
                complete = complete and ended
                if found:
                    best = min(best, np.array(found), key=problem.loss)
            done[fresh[k]] = complete
        first, whole = plausible(problem, problem.loss(best))  # which ends where it had no end
    return best, whole and all(done.get(window) for window in first.tolist()), nodes


def candidates(problem: Problem, first: int, loss: float) -> tuple[list[list[float]], bool, int]:
    """List the values in a window, ascending, that each weight can have in a better model.

    The list is empty if some weight has none. Return also whether it is complete: of a weight with
    more than `VALUES` values, only those near it are listed. And how many numbers it looked at.
    """
    half, whole = 2 ** (problem.bits - 1), True
    exponents = np.arange(first, first + problem.width)
    weights, radii = problem.weights[:, None], problem.radii(loss)[:, None]
    while True:  # multipliers are 2m + 1, m from low to high - 1
        low = np.ceil((np.ldexp(weights - radii, exponents) - 1) / 2).clip(-half, half)
        high = np.floor((np.ldexp(weights + radii, exponents) + 1) / 2).clip(-half, half)
        counts = (high - low).clip(0)
        many = counts.sum(axis=1) > VALUES
        if not many.any():
            break
        radii[many], whole = radii[many] / 2, False
    if not counts.any(axis=1).all():
        return [], whole, counts.size
    values = []
    for row, count in enumerate(counts):
        runs = [(low[row, k], high[row, k], exponents[k]) for k in np.flatnonzero(count)]
        allowed = [np.ldexp(2 * np.arange(*m) + 1, -e) for *m, e in runs]
        values.append(np.sort(np.concatenate(allowed)).tolist())
    return values, whole, counts.size + int(counts.sum())


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
    unit = Fraction(2) ** math.frexp(value)[1]
    while True:
        rounded = round(value / unit) * unit
        error = (rounded - value) ** 2
        if error <= tolerance:
            return rounded, error
        unit /= 2
