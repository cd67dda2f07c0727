"""Find the codes for the weights of a linear model: the best ones, by GPTQ, or each by itself.

On standardised features, errors δ in the weights make the training MSE grow by δᵀCδ = |Rδ|², with
C the correlations of the features and RᵀR = C, as the intercept is chosen anew. The best model of
n bits is

    argmin over codes c and exponents e of |Rδ|²,  δ_i = σ_i · ((2c_i - (2^n - 1)) · 2^-e_i - w_i),

with all exponents among 16 in a row, or a wider power of two where the deviations differ by more.
Every window of exponents leaves each weight a finite set of values, of which `closest` finds the
best combination. A better model has |δ_i| ≤ reach_i · √(the growth known), so that a weight has few
values to try, and that all but a few windows leave some weight none: further up, where even the
largest value is too small, and further down, where the smallest is too large. So the search comes
to an end, and what it returns is proven the best model of the format, unless its budget ends first.

References
----------
E. Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained
transformers", arXiv:2210.17323 (2022): rounds feature by feature and passes each error on.
J. Chen et al., "The geometry of LLM quantization: GPTQ as Babai's nearest plane algorithm",
arXiv:2507.18553 (2025).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from stages.quantizer.closest import closest, reach
from stages.quantizer.codes import MAX_BITS, Codes, Integers
from stages.regression.fit import OWN, pivoted_cholesky
from stages.regression.linear import Floats
from stages.regression.sums import Sums

WINDOW = 16  # exponents, unless the deviations differ by more
VALUES = 4_096  # of one weight, that an enumeration may choose from
NODES = 4_000_000  # of all enumerations for one width, divided by the features
MARGIN = 3  # binary places, windows beyond those in which weights have a value of their size
SMALL = 2.0**-30  # of a weight on standardised features and target: less counts as so much
SHARE = 100  # of what the weights add to the MSE, the intercept may add


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized model, and how far it is proven.

    Attributes
    ----------
    codes : Codes
    optimal : bool
        Whether no weights of so many bits make the training MSE grow less, but for what the choice
        of the intercept can move.
    nodes : int
        What the enumerations visited for this proof, or before they gave up.
    """

    codes: Codes
    optimal: bool = False
    nodes: int = 0


@dataclass(frozen=True, eq=False)
class Problem:
    """Weights to be quantized at one width.

    Attributes
    ----------
    weights, sigma : ndarray of shape (n,)
        On raw features, and the features' standard deviations.
    factor : ndarray of shape (n, n)
        R, upper triangular with a positive diagonal.
    reach : ndarray of shape (n,)
        |δ_i| ≤ reach_i · |Rδ|.
    bits : int
    windows : ndarray of shape (n_windows, width)
        The exponents of each window to be tried.
    """

    weights: Floats
    sigma: Floats
    factor: Floats
    reach: Floats
    bits: int
    windows: Integers

    @property
    def top(self) -> int:
        """The largest multiplier."""
        return int(2**self.bits - 1)

    @cached_property
    def planes(self) -> tuple[Floats, Floats]:
        """What `planes` makes of it, which more than one way of rounding starts from."""
        return planes(self)

    def loss(self, values: Floats) -> float:
        """Return |Rδ|² for the quantized weights `values`."""
        delta = (values - self.weights) * self.sigma
        return float(np.cumsum(np.cumsum(self.factor * delta, axis=1)[:, -1] ** 2)[-1])


def quantize(coef: Floats, sums: Sums, rounding: str) -> Iterator[Quantized]:
    """Quantize a linear model to 1, 2, … 16 bits a weight, each when asked.

    Parameters
    ----------
    coef : ndarray of shape (n_features,)
        Weights on raw features.
    sums : Sums
        Of the training rows.
    rounding : {'optimal', 'gptq', 'nearest'}

    Yields
    ------
    Quantized
        With `optimal`, never worse than one with fewer bits, or than `gptq`.
    """
    correlation, (*_, sigma_y) = sums.correlation[:-1, :-1], sums.std
    _, unit = math.frexp(sigma_y)  # losses are squares of 2^unit, so that none underflows
    sigma = np.ldexp(sums.std[:-1], -unit)
    _, order = pivoted_cholesky(correlation)
    order.reverse()  # small pivots last would let an enumeration go far before it costs much
    place = np.argsort(order)
    factor = cholesky(correlation[np.ix_(order, order)])
    # a weight that is nearly 0 counts as small, or its windows would have no end
    sizes = np.maximum(np.abs(coef), SMALL * math.ldexp(sigma_y, -unit) / sigma)
    given = coef[order], sigma[order], factor, reach(factor)
    solve = {"optimal": optimal, "gptq": gptq, "nearest": nearest}[rounding]
    narrower: Floats | None = None
    for bits in range(1, MAX_BITS + 1):
        problem = Problem(*given, bits, windows(sizes, sigma, given[-1], bits))
        values, proven, nodes = solve(problem, narrower)
        models = [values]
        if solve is optimal:  # which a coarser intercept may make worse than the others
            models += [gptq(problem, None)[0], *([] if narrower is None else [narrower])]
        growths = (Fraction(problem.loss(of)) * Fraction(4) ** unit for of in models)
        coded = [
            assembled(bits, of[place], growth, sums)
            for of, growth in zip(models, growths, strict=True)
        ]
        least = min(range(len(models)), key=lambda k: coded[k][1])
        codes, narrower = coded[least][0], models[least]
        yield Quantized(codes, proven, nodes)


def windows(sizes: Floats, sigma: Floats, far: Floats, bits: int) -> Integers:
    """Lay out windows of exponents, from where all values are too large to where all are too small.

    Parameters
    ----------
    sizes, sigma, far : ndarray of shape (n,)
        Of the weights, the deviations of their features, and their `reach`.
    bits : int

    Returns
    -------
    ndarray of shape (n_windows, width)
    """
    spread, exponents = np.frexp(sigma)[1], np.frexp(sizes)[1]
    width = max(WINDOW, 1 << int(np.ptp(spread)).bit_length())
    _, margin = np.frexp(2.0**MARGIN * far.max())  # of correlated features errors go far
    first = np.arange(-exponents.max() - width - margin, bits - exponents.min() + margin + 1)
    return first[:, None] + np.arange(width)


def rounded(targets: Floats, exponents: Integers, top: int) -> Floats:
    """Round each of the m targets to the nearest value that its exponents allow.

    A tie between two multipliers goes to the greater, between exponents to the lower.

    Parameters
    ----------
    targets : ndarray of shape (m,)
    exponents : ndarray of shape (m, width)
    top : int
    """
    multipliers = 2 * np.floor(np.ldexp(targets[:, None], exponents) / 2) + 1
    values = np.ldexp(multipliers.clip(-top, top), -exponents)
    nearest = np.abs(values - targets[:, None]).argmin(axis=1)
    chosen: Floats = values[np.arange(len(targets)), nearest]
    return chosen


@np.errstate(over="ignore", invalid="ignore")
def nearest(problem: Problem, _: Floats | None) -> tuple[Floats, bool, int]:
    """Round each weight for itself, in the window in which these errors cost least."""
    columns = [
        rounded(np.full(len(problem.windows), weight), problem.windows, problem.top)
        for weight in problem.weights
    ]
    values = np.array(columns).T
    costs = np.cumsum(((values - problem.weights) * problem.sigma) ** 2, axis=1)[:, -1]
    return values[np.argmin(costs)], False, 0


def planes(problem: Problem) -> tuple[Floats, Floats]:
    """Round from the last weight to the first in every window, passing each error on, as GPTQ does.

    Returns
    -------
    values : ndarray of shape (n_windows, n)
    losses : ndarray of shape (n_windows,)
    """
    windows, factor = problem.windows, problem.factor
    values = np.zeros((len(windows), len(factor)))
    carried, losses = np.zeros_like(values), np.zeros(len(windows))
    for i in reversed(range(len(factor))):
        unit = factor[i, i] * problem.sigma[i]
        target = problem.weights[i] - carried[:, i] / unit
        values[:, i] = rounded(target, windows, problem.top)
        losses += ((values[:, i] - target) * unit) ** 2
        delta = (values[:, i] - problem.weights[i]) * problem.sigma[i]
        carried[:, :i] += factor[:i, i] * delta[:, None]
    return values, losses


@np.errstate(over="ignore", invalid="ignore")
def gptq(problem: Problem, _: Floats | None) -> tuple[Floats, bool, int]:
    """Round by nearest-plane, in the window that it suits best."""
    values, losses = problem.planes
    return values[np.argmin(losses)], False, 0


@np.errstate(over="ignore", invalid="ignore")
def optimal(problem: Problem, narrower: Floats | None) -> tuple[Floats, bool, int]:
    """Enumerate window after window, the most promising first."""
    values, losses = problem.planes
    starts = [values[np.argmin(losses)], *([] if narrower is None else [narrower])]
    best = min(starts, key=problem.loss)
    proven, nodes, budget = True, 0, NODES // len(problem.weights)
    for k in np.argsort(losses, kind="stable").tolist():
        found, complete, visited = enumerated(problem, k, best, budget - nodes)
        nodes += visited
        proven &= complete
        best = min(best, found, key=problem.loss)
        if nodes >= budget and not proven:
            return best, False, nodes
    # before the first window all values are larger still, and behind the last they are smaller
    before = hopeless(problem, 0, best)
    behind = hopeless(problem, -1, best) or vanishing(problem, best)
    return best, proven and before and behind, nodes


def hopeless(problem: Problem, k: int, best: Floats) -> bool:
    """Tell whether window k leaves some weight no value that a better model can have."""
    values, complete = candidates(problem, k, problem.loss(best))
    return values is None and complete


def vanishing(problem: Problem, best: Floats) -> bool:
    """Tell whether all values of the windows behind the last are so small that `best` is better.

    The columns of R have the length 1, so |R(v - w)| ≥ |Rw| - Σ |v_i| on standardised features.
    """
    largest = float(np.cumsum(problem.sigma)[-1]) * math.ldexp(
        problem.top, -int(problem.windows[-1, 0])
    )
    nothing = math.sqrt(problem.loss(np.zeros_like(best)))
    return nothing - largest > math.sqrt(problem.loss(best)) * (1 + 1e-9)


def enumerated(problem: Problem, k: int, best: Floats, budget: int) -> tuple[Floats, bool, int]:
    """Look in window k for a model that is better than `best`.

    Returns
    -------
    values : ndarray of shape (n,)
    proven : bool
        Whether there is no better one in the window.
    nodes : int
    """
    loss = problem.loss(best)
    values, complete = candidates(problem, k, loss)
    if values is None:
        return best, complete, 0
    scaled = [
        (of_one * sigma).tolist() for of_one, sigma in zip(values, problem.sigma, strict=True)
    ]
    target = (problem.weights * problem.sigma).tolist()
    indices, proven, nodes = closest(problem.factor, target, scaled, loss, budget)
    if indices is not None:
        best = np.array([of_one[index] for of_one, index in zip(values, indices, strict=True)])
    return best, proven and complete, nodes


def candidates(problem: Problem, k: int, loss: float) -> tuple[list[Floats] | None, bool]:
    """List, in ascending order, the values in window k that each weight has in a better model.

    Returns
    -------
    values : list of n ndarray, or None
        None if a weight has no value.
    complete : bool
        False where a weight had more than `VALUES` of them: then only those near it are listed.
    """
    half, complete, exponents = 2 ** (problem.bits - 1), True, problem.windows[k]
    radii = problem.reach * (math.sqrt(loss) * (1 + 1e-9))  # more than rounding errors take
    values = []
    for weight, radius in zip(problem.weights, radii / problem.sigma, strict=True):
        while True:  # multipliers are 2m + 1, m from first to last
            first = np.ceil((np.ldexp(weight - radius, exponents) - 1) / 2).clip(-half, half)
            last = np.floor((np.ldexp(weight + radius, exponents) - 1) / 2).clip(
                -half - 1, half - 1
            )
            counts = (last - first + 1).clip(0).astype(np.int64)
            if counts.sum() <= VALUES:
                break
            radius, complete = radius / 2, False
        if not counts.sum():
            return None, complete
        m = np.concatenate([np.arange(count) for count in counts]) + np.repeat(first, counts)
        values.append(np.sort(np.ldexp(2 * m + 1, -np.repeat(exponents, counts))))
    return values, complete


def assembled(bits: int, values: Floats, growth: Fraction, sums: Sums) -> tuple[Codes, Fraction]:
    """Code weights, with an intercept of as few bits as do; return what both add to the MSE."""
    best, _ = sums.moments(0.0, [*-values, 1.0])  # the mean that is left to the intercept
    finest = (Fraction(math.ulp(best)) / 2) ** 2
    intercept, exponent, error = shortest(best, max(growth / SHARE, finest))
    multipliers, exponents = zip(*map(odd, values.tolist()), strict=True)
    codes = (np.array(multipliers) + 2**bits - 1) // 2
    return Codes(bits, codes, np.array(exponents), intercept, exponent), growth + error


def shortest(value: Fraction, tolerance: Fraction) -> tuple[int, int, Fraction]:
    """Return k and the least e with (k · 2^-e - value)² ≤ tolerance, and that square."""
    exponent = -math.frexp(value)[1]
    while True:
        unit = Fraction(2) ** -exponent
        k = round(value / unit)
        error = (k * unit - value) ** 2
        if error <= tolerance:
            return k, exponent, error
        exponent += 1


def odd(value: float) -> tuple[int, int]:
    """Return the odd number k and the exponent e of value = k · 2^-e, which is not 0."""
    numerator, denominator = value.as_integer_ratio()
    twos = (numerator & -numerator).bit_length() - 1
    return numerator >> twos, denominator.bit_length() - 1 - twos


def cholesky(correlation: Floats) -> Floats:
    """Factor correlations, by elementwise products, as the last bits of LAPACK depend on the CPU.

    A pivot that rounding has made less than those of columns that are kept is raised to theirs.

    Parameters
    ----------
    correlation : ndarray of shape (n, n)

    Returns
    -------
    ndarray of shape (n, n)
        Upper triangular R with a positive diagonal and RᵀR = correlation.
    """
    rest, factor = correlation.copy(), np.zeros_like(correlation)
    for i in range(len(rest)):
        factor[i, i] = math.sqrt(max(rest[i, i], OWN))
        factor[i, i + 1 :] = rest[i, i + 1 :] / factor[i, i]
        rest[i:, i:] -= factor[i, i:, None] * factor[i, i:]
    return factor
