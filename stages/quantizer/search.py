"""`rounding: optimal`: the grid, exponents and codes that cost the training MSE least.

On standardised features the weight w_i becomes ŵ_i = σ_i · 2^-e_i · (offset + scale · c_i), and
with the intercept refitted the training MSE grows by (ŵ - w)ᵀ C (ŵ - w), C the correlations of the
features. The problem is

    argmin over scale, offset, exponents e and codes c of |R (ŵ - w)|²,  RᵀR = C,

with every c_i in 0 … 2^bits - 1 and every e_i in one window of 2^EXPONENT_BITS integers.

Proven: codes *and* exponents for the grid that ships. On one grid each weight has a finite set of
values, so `lattice.closest` finds the best of all combinations, to within the rounding errors of
its sums, unless its budget ends before (`optimal` says so). Searched: the grid, which is two real
numbers. Thousands of grids are rounded at once by nearest-plane; the best are refined by least
squares for the grid and enumeration for the rest, in turn. No width is worse than a narrower one,
whose result its search starts from, nor than rounding to nearest or nearest-plane (GPTQ) on the
plain grid, which are starts too.

Nothing here is random, and nothing that decides uses BLAS: the codes are the same on every CPU.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.quantizer.affine import (
    MAX_BITS,
    Integers,
    QuantizedWeights,
    float32,
    quantize_nearest,
)
from stages.quantizer.lattice import cholesky, closest, reach
from stages.regression.linear import Floats

EXPONENT_BITS = 4  # of the window, unless the plain exponents need a wider one
OCTAVES = 6  # how far the far end of a grid may lie above the largest weight
GRIDS = 20_000  # rounded by nearest-plane
BETTER_GRIDS = 4_000  # of those, once more after least squares
KEPT = 24  # of those, refined
AROUND = range(1, -7, -1)  # exponents tried, from the last with which a grid reaches the weight
SMALLEST_SCALE = 2.0**-99  # weights are about 1; so much less is no grid, nor has float32 it all
VALUES = 4_096  # of one weight, that enumeration may choose from
REFINE_NODES = 50_000  # divided by the features: for one enumeration while refining
PROOF_NODES = 4_000_000  # divided by the features: for the last one, which proves the result

# 2^32 / ρ and 2^32 / ρ², ρ = 1.3247… the plastic number: points that fill the square evenly
RECURRENCE = (3_242_174_889, 2_447_445_414)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be quantized, at one width.

    Attributes
    ----------
    weights : ndarray of shape (n,)
        On standardised features, scaled by a power of two to about 1.
    factor : ndarray of shape (n, n)
        R, upper triangular with a positive diagonal.
    reach : ndarray of shape (n,)
        |δ_i| ≤ reach_i · |Rδ|.
    units : ndarray of shape (n, window)
        σ_i · 2^-e for the exponents e of the window, in ascending order of e; 0 where that is
        too small for a float, which leaves the exponent out.
    top : int
        The highest code.
    """

    weights: Floats
    factor: Floats
    reach: Floats
    units: Floats
    top: int

    def units_at(self, steps: Integers) -> Floats:
        """Return the units at positions in the window, `steps` of shape (n, m)."""
        units: Floats = self.units[np.arange(len(steps))[:, None], steps]
        return units


@dataclass(frozen=True, eq=False)
class Solution:
    """A grid with codes and exponents, these as positions in the window, and what it costs.

    `loss` is |R (ŵ - w)|²; `optimal` and `nodes` say what `enumerate_grid` has proven, and in how
    many nodes.
    """

    scale: float
    offset: float
    codes: Integers
    steps: Integers
    loss: float = math.inf
    optimal: bool = False
    nodes: int = 0

    @property
    def grid(self) -> tuple[Floats, Floats]:
        """Scale and offset as arrays of shape (1,)."""
        return np.array([self.scale]), np.array([self.offset])


def quantize_optimal(
    coef: Floats, sigma: Floats, correlation: Floats
) -> Iterator[QuantizedWeights]:
    """Quantize to the best codes and exponents on the best grid found, for 1, 2, … 16 bits.

    Parameters
    ----------
    coef : ndarray of shape (n,), finite
        Weights on raw features.
    sigma : ndarray of shape (n,), positive
        Standard deviations of the features.
    correlation : ndarray of shape (n, n)
        Their correlations.

    Yields
    ------
    QuantizedWeights
        Of one more bit each time, as a width starts from what the narrower one came to. Up to
        8 features a width takes about 0.1 seconds, and up to 300 about 0.6.

    Raises
    ------
    ValueError
        A number is not finite, or a deviation not positive.
    """
    if not np.isfinite(correlation).all():
        raise ValueError("correlation must be finite")
    if correlation.shape != (len(coef), len(coef)):
        raise ValueError(f"correlation must have the shape of coef twice, got {correlation.shape}")
    plain = quantize_nearest(coef, sigma, MAX_BITS).exponents
    spread = int(np.ptp(plain))
    window = 2 ** max(EXPONENT_BITS, spread.bit_length())
    lowest = int(plain.min()) - (window - 1 - spread) // 2
    size = int(np.frexp(np.abs(coef * sigma).max())[1])
    factor = cholesky(correlation)
    units = np.ldexp(sigma[:, None], -size - lowest - np.arange(window))
    problem = Problem(np.ldexp(coef * sigma, -size), factor, reach(factor), units, top=0)

    narrower: list[Solution] = []
    for bits in range(1, MAX_BITS + 1):
        problem = replace(problem, top=2**bits - 1)
        nearest = quantize_nearest(coef, sigma, bits)
        baseline = Solution(nearest.scale, nearest.offset, nearest.codes, plain - lowest)
        gptq = replace(baseline, codes=nearest_plane_codes(problem, baseline))
        best = search(problem, [measured(problem, s) for s in (baseline, gptq, *narrower)])
        # a wider code has the same grid with twice as many points, or with points twice as dense
        narrower = [best, replace(best, scale=best.scale / 2, codes=2 * best.codes)]
        exponents = best.steps + lowest
        yield QuantizedWeights(
            bits, best.codes, exponents, best.scale, best.offset, best.optimal, best.nodes
        )


@np.errstate(all="ignore")  # deviations may differ by so much that units overflow or vanish
def search(problem: Problem, starts: Sequence[Solution]) -> Solution:
    """Find a grid, exponents and codes that cost no more than any of the `starts`."""
    n = len(problem.weights)
    share = min(1.0, 320 / (n * (n + 32)))  # all grids for 8 features; the work grows as n² each
    scales, offsets = spread_grids(problem, max(64, int(GRIDS * share)))
    for keep in (max(32, int(BETTER_GRIDS * share)), 4 * KEPT):
        scales, offsets, codes, steps = round_grids(problem, scales, offsets, keep)
    kept: dict[bytes, Solution] = {}
    for k in range(len(scales)):
        solution = Solution(float32(scales[k]), float32(offsets[k]), codes[:, k], steps[:, k])
        kept.setdefault(codes[:, k].tobytes() + steps[:, k].tobytes(), solution)
    rounded = list(kept.values())[: max(4, int(KEPT * share))]
    pool = [*starts, *(measured(problem, solution) for solution in rounded)]
    best = min((refine(problem, start) for start in pool), key=lambda solution: solution.loss)
    return enumerate_grid(problem, best, PROOF_NODES // n)


def spread_grids(problem: Problem, count: int) -> tuple[Floats, Floats]:
    """Spread `count` grids evenly over all shapes and a few octaves; returns scales and offsets.

    The end farther from zero lies in one of the octaves above the largest weight, the other end
    anywhere from minus that to zero, or to plus that where all weights have one sign. Half of the
    grids are mirrored.
    """
    octaves = min(OCTAVES, problem.units.shape[1] + 1)
    _, first = np.frexp(np.abs(problem.weights / problem.units[:, 0]).max())
    k = np.arange(count)
    u, v = ((k * step % 2**32) / 2**32 for step in RECURRENCE)
    far = np.ldexp(0.5 + u / 2, first + k % octaves)
    one_sign = problem.weights.min() >= 0 or problem.weights.max() <= 0
    near = far * (v * (2 if one_sign else 1) - 1)
    mirrored = k // octaves % 2 == 1
    low, high = np.where(mirrored, -far, near), np.where(mirrored, -near, far)
    return (high - low) / problem.top, low


def round_grids(
    problem: Problem, scales: Floats, offsets: Floats, keep: int
) -> tuple[Floats, Floats, Integers, Integers]:
    """Round the weights by nearest-plane on all grids, and fit each grid to what came out.

    Returns
    -------
    scales, offsets : ndarray of shape (at most keep,)
        The fitted grids that cost least, best first.
    codes, steps : ndarray of shape (n, at most keep)
        What the weights were rounded to.
    """
    size = max(16, 32_768 // len(problem.weights))  # of a piece of the grids that fits the cache
    pieces = []
    for k in range(0, len(scales), size):
        scale, offset = scales[k : k + size], offsets[k : k + size]
        codes, steps = nearest_plane(problem, scale, offset, AROUND)
        pieces.append((*fit_grids(problem, scale, offset, codes, steps), codes, steps))
    loss, *rest = (np.concatenate(parts, axis=-1) for parts in zip(*pieces, strict=True))
    best = np.argsort(loss, kind="stable")[:keep]
    scales, offsets, codes, steps = (part[..., best] for part in rest)
    return scales, offsets, codes, steps


def nearest_plane(
    problem: Problem, scale: Floats, offset: Floats, around: range
) -> tuple[Integers, Integers]:
    """Round weight after weight on many grids at once, passing each error on to the next.

    A tie between two codes goes to the even one, between exponents to the first in `around`.

    Parameters
    ----------
    problem : Problem
    scale, offset : ndarray of shape (m,)
    around : range
        Exponents to try, counted from the last with which a grid reaches the weight.

    Returns
    -------
    codes, steps : ndarray of shape (n, m)
    """
    (n, window), m = problem.units.shape, len(scale)
    codes, steps = np.zeros((n, m), np.int64), np.zeros((n, m), np.int64)
    residual = np.zeros((n, m))
    highest = offset + scale * problem.top
    for i in reversed(range(n)):
        units = problem.units[i]
        target = problem.weights[i] - residual[i] / problem.factor[i, i]
        # the end of the grid on the target's side of 0, and the last position in the window at
        # which that end is still beyond the target; if no value has its sign, the smallest unit
        end = np.where(target < 0, -offset, highest)
        _, last = np.frexp(end * units[0] / np.maximum(np.abs(target), SMALLEST_SCALE))
        last = np.where(end > 0, last - 1, window)
        nearest = np.full(m, np.inf)
        for k in around:
            step = (last + k).clip(0, window - 1)
            code = np.rint((target / units[step] - offset) / scale).clip(0, problem.top)
            error = np.abs(units[step] * (offset + scale * code) - target)
            better = error < nearest
            np.copyto(codes[i], code, where=better, casting="unsafe")
            np.copyto(steps[i], step, where=better)
            np.copyto(nearest, error, where=better)
        delta = units[steps[i]] * (offset + scale * codes[i]) - problem.weights[i]
        residual[: i + 1] += problem.factor[: i + 1, i, None] * delta
    return codes, steps


def nearest_plane_codes(problem: Problem, start: Solution) -> Integers:
    """Round by nearest-plane on the grid and with the exponents of `start`, as GPTQ does."""
    units = problem.units_at(start.steps[:, None])
    codes, _ = nearest_plane(replace(problem, units=units), *start.grid, range(1))
    return codes[:, 0]


def fit_grids(
    problem: Problem, scale: Floats, offset: Floats, codes: Integers, steps: Integers
) -> tuple[Floats, Floats, Floats]:
    """Fit scale and offset to codes and exponents: 2 × 2 least squares, for many grids at once.

    ŵ is linear in both, so that argmin |R (ŵ - w)|² has two normal equations. They are solved for
    the change of (offset, scale · top), which is small where the grid is already good.

    Parameters
    ----------
    problem : Problem
    scale, offset : ndarray of shape (m,)
    codes, steps : ndarray of shape (n, m)

    Returns
    -------
    loss, scale, offset : ndarray of shape (m,)
    """
    unit = problem.units_at(steps)
    p = apply(problem.factor, unit)
    q = apply(problem.factor, unit * (codes / problem.top))
    r = residuals(problem, scale, offset, codes, steps)
    pp, pq, qq, pr, qr = (sum(x * y) for x, y in ((p, p), (p, q), (q, q), (p, r), (q, r)))
    determinant = pp * qq - pq * pq
    unique = determinant > 1e-12 * pp * qq  # not for a single weight, or codes that are all equal
    b = np.where(unique, (pp * qr - pq * pr) / np.where(unique, determinant, 1.0), 0.0)
    a = (pr - b * pq) / pp
    loss, fitted = sum(r * r) - a * pr - b * qr, scale - b / problem.top
    usable = fitted > SMALLEST_SCALE
    return (
        np.where(usable, loss, np.inf),
        np.where(usable, fitted, scale),
        np.where(usable, offset - a, offset),
    )


def refine(problem: Problem, start: Solution) -> Solution:
    """Fit the grid, and enumerate on it, in turn until neither helps any more."""
    best = start
    while True:
        _, scale, offset = fit_grids(problem, *best.grid, best.codes[:, None], best.steps[:, None])
        fitted = replace(best, scale=float32(scale[0]), offset=float32(offset[0]))
        fitted = min(best, measured(problem, fitted), key=lambda s: s.loss)
        better = enumerate_grid(problem, fitted, REFINE_NODES // len(best.codes))
        if not better.loss < best.loss * (1 - 1e-6):  # or it could go on in ever smaller steps
            return better
        best = better


def enumerate_grid(problem: Problem, start: Solution, nodes: int) -> Solution:
    """Find the best codes and exponents for the grid of `start`, visiting at most so many nodes."""
    if start.loss == 0:
        return replace(start, optimal=True, nodes=0)
    values, codes, steps, complete = candidates(problem, start)
    indices, proven, visited = closest(
        problem.factor, problem.weights.tolist(), values, start.loss, nodes
    )
    best = start
    if indices is not None:
        chosen = list(enumerate(indices))
        found = replace(
            start,
            codes=np.array([codes[i][k] for i, k in chosen]),
            steps=np.array([steps[i][k] for i, k in chosen]),
        )
        best = min(start, measured(problem, found), key=lambda s: s.loss)
    return replace(best, optimal=proven and complete, nodes=visited)


def candidates(
    problem: Problem, start: Solution
) -> tuple[list[list[float]], list[Integers], list[Integers], bool]:
    """List what each weight can become in a solution that costs less than `start`.

    Such a solution has |ŵ_i - w_i| ≤ reach_i · √loss; on the grid of `start` that leaves each
    exponent a run of codes.

    Returns
    -------
    values : list of n ascending lists
    codes, steps : list of n ndarray
        What gives these values.
    complete : bool
        False where a weight had more than `VALUES` of them: then only those near it are listed.
    """
    values: list[list[float]] = []
    codes: list[Integers] = []
    steps: list[Integers] = []
    complete = True
    radii = problem.reach * (math.sqrt(start.loss) * (1 + 1e-9))  # more than rounding errors take
    for weight, radius, units in zip(problem.weights, radii, problem.units, strict=True):
        while True:
            first = np.ceil(((weight - radius) / units - start.offset) / start.scale)
            last = np.floor(((weight + radius) / units - start.offset) / start.scale)
            first, last = first.clip(0, problem.top + 1), last.clip(-1, problem.top)
            counts = np.where(units > 0, last - first + 1, 0).clip(0).astype(np.int64)
            if counts.sum() <= VALUES:
                break
            radius, complete = min(radius, 2.0) / 2, False
        step = np.repeat(np.arange(len(units)), counts)
        code = np.concatenate([np.arange(n) for n in counts]) + np.repeat(first, counts)
        value, order = np.unique(
            units[step] * (start.offset + start.scale * code), return_index=True
        )
        values.append(value.tolist())
        codes.append(code[order].astype(np.int64))
        steps.append(step[order])
    return values, codes, steps, complete


def measured(problem: Problem, s: Solution) -> Solution:
    """Fill in the loss of a solution."""
    residual = residuals(problem, *s.grid, s.codes[:, None], s.steps[:, None])
    return replace(s, loss=float(np.cumsum(residual * residual)[-1]))


def residuals(
    problem: Problem, scale: Floats, offset: Floats, codes: Integers, steps: Integers
) -> Floats:
    """Return R (ŵ - w), of the shape (n, m) of the codes and steps."""
    unit = problem.units_at(steps)
    quantized = unit * (offset + scale * codes)
    return apply(problem.factor, quantized - problem.weights[:, None])


def apply(factor: Floats, columns: Floats) -> Floats:
    """Multiply two matrices, adding in one order: that of BLAS depends on the CPU."""
    product = np.zeros_like(columns)
    for j, column in enumerate(columns):
        product[: j + 1] += factor[: j + 1, j, None] * column
    return product
