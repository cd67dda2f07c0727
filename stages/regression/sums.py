"""Exact sums of a table: all that a linear regression needs to know of its rows.

A value x is counted as the whole number k = x · 2^-e. Signed digits of 18 bits make k, as many as
the values of its column need, from the largest size down. Products of digits are whole numbers
below 2^36, so that in a block of 2^17 rows their sums are below 2^53, and a product of matrices of
doubles is exact, whatever order and kernel BLAS takes. So Σ kᵢ and Σ kᵢkⱼ are the same integers on
every machine, for any order of the rows, and they are those of the table as given. Only where a
column would need more than seven digits, what lies below these is cut off. See Ozaki, Ogita, Oishi,
Rump, "Error-free transformations of matrix multiplication by using fast routines of matrix
multiplication and its applications", Numerical Algorithms 59 (2012), 95-118.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from itertools import chain, combinations_with_replacement
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stages.columns.inputs import Schema
from stages.columns.sql import double
from stages.project import files
from stages.project.typed import convert
from stages.regression.linear import Floats
from stages.tables.relation import Rows
from stages.tables.spark import MOST
from stages.tables.table import Table

Numbers = Mapping[int, str]  # in SQL, of columns
Counts = Sequence[int]  # of digits
Product = tuple[int, ...]  # of the numbers at one or two places
Integers = NDArray[np.object_]  # Python's, of any size, or fractions of them
Exponents = NDArray[np.int64]

WIDTH = 18  # bits of a digit
DIGITS = 7  # of a value at most
ROWS = 2**12  # of a block, which fits into a cache
WIDE = 1000  # digits of a row, for which BLAS takes threads
HIDDEN, EXPONENT = np.int64(1 << 52), np.int64(0x7FF << 52)  # bits of a double
EXACT = 2**53  # up to which doubles have all whole numbers
FULL = 2**27  # rows times digits, sums over which are sure to fit a BIGINT
SHORT = 14  # bits of a digit with more rows, which may be 2^31 then
LEAST_SIZE = -900  # an exponent, or powers of two would overflow


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of the whole numbers kⱼ that stand for the features, then the target.

    k₀ is 1, so that the first row of `products` has the number of rows, and Σ kⱼ.
    """

    low: Floats  # range of each column, of shape (n_columns,)
    high: Floats
    exponents: Exponents  # a value of column j is kⱼ · 2^exponents[j]
    products: Integers  # Σ kᵢkⱼ, of shape (1 + n_columns, 1 + n_columns)

    @classmethod
    def of(cls, blocks: Iterable[Floats], low: Floats, high: Floats) -> Self:
        """Add up blocks of shape (n_rows, n_columns), whose columns have these ranges.

        A block has at most 2^24 rows.
        """
        sizes = sizes_of(low, high)
        found = cls(low, high, sizes + 1 - WIDTH, np.zeros((1 + len(low),) * 2, dtype=object))
        for block in blocks:
            found += cls(low, high, *multiply(np.ascontiguousarray(block.T), sizes))
        return found

    @classmethod
    def of_table(cls, table: Table, folds: int = 1) -> list[Self]:
        """Add up the rows of each fold of a table, wherever they are."""
        low, high = np.array(table.low), np.array(table.high)
        found, fold = [cls.of([], low, high) for _ in range(folds)], table.fold(folds)
        if table.select:
            exponents, sums = ask_sums(table, sizes_of(low, high), fold)
            for j, products in sums.items():
                found[j] += cls(low, high, exponents, products)
            return found
        with files.reading(Path(table.folder)):
            for block, places in table.blocks(fold):
                for j in range(folds):
                    found[j] += cls.of([block.T[:, places == j].T], low, high)
        return found

    def __add__(self, other: Self) -> Self:
        """Add sums of other rows of the same table."""
        exponents = np.minimum(self.exponents, other.exponents)
        products = self.counted_in(exponents) + other.counted_in(exponents)
        return replace(self, exponents=exponents, products=products)

    def without(self, other: Self) -> Self:
        """Leave out the sums of some of the rows."""
        return replace(self, products=self.products - other.counted_in(self.exponents))

    def counted_in(self, exponents: Exponents) -> Integers:
        """Return the products in units of these powers of two, which are no larger."""
        shifts = np.array([0, *(self.exponents - exponents).tolist()], dtype=object)
        return np.asarray(self.products << np.add.outer(shifts, shifts))

    def of_features(self, features: Sequence[int]) -> "Sums":
        """Keep the features at these positions, and the target."""
        j = np.array([*features, len(self.low) - 1])
        products = self.products[np.ix_([0, *j + 1], [0, *j + 1])]
        return Sums(self.low[j], self.high[j], self.exponents[j], products)

    @property
    def n_digits(self) -> Exponents:
        """Digits of each column."""
        return (sizes_of(self.low, self.high) + 1 - self.exponents) // WIDTH

    @property
    def n_rows(self) -> int:
        return int(self.products[0, 0])

    @cached_property
    def units(self) -> Integers:
        """Fractions that one of the kⱼ stands for."""
        return np.array([Fraction(2) ** e for e in self.exponents.tolist()], dtype=object)

    @cached_property
    def covariances(self) -> Integers:
        """n² times the covariances of the kⱼ, of shape (n_columns, n_columns)."""
        first = self.products[0, 1:]
        return np.asarray(self.n_rows * self.products[1:, 1:] - np.outer(first, first))

    # of each column, as fractions, and as correctly rounded doubles; those of the population

    @cached_property
    def means(self) -> Integers:
        return np.asarray(self.products[0, 1:] * self.units / self.n_rows)

    @cached_property
    def variances(self) -> Integers:
        return np.asarray(self.covariances.diagonal() * self.units**2 / self.n_rows**2)

    @cached_property
    def std(self) -> Floats:
        return np.array([*map(root, self.variances)])

    @cached_property
    def correlation(self) -> Floats:
        """Correlations of the columns, of shape (n_columns, n_columns); 0 for a constant one."""
        more = 256  # bits, so that roots cut off cost nothing
        roots = [math.isqrt(c << 2 * more) or 1 for c in self.covariances.diagonal()]
        r = np.array(roots, dtype=object)
        return np.asarray((self.covariances << 2 * more) / np.outer(r, r), dtype=np.float64)

    def moments(self, constant: float, factors: Sequence[float]) -> tuple[Fraction, Fraction]:
        """Return mean and mean square of constant + Σ factorⱼ · columnⱼ, exactly, as counted."""
        weights = [Fraction(constant), *(fractions(factors) * self.units)]
        places = max(weight.denominator for weight in weights)  # a power of two
        whole = np.array([int(weight * places) for weight in weights], dtype=object)
        sums = whole @ self.products
        scale = Fraction(1, self.n_rows * places)
        return sums[0] * scale, whole @ sums * scale / places

    def intercept(self, coef: Floats) -> float:
        """Return argmin_b Σ (b + x · coef - y)², the mean of y - x · coef, correctly rounded."""
        return float(self.moments(0.0, [*-coef, 1.0])[0])


def fractions(values: Iterable[float]) -> Integers:
    return np.array([*map(Fraction, values)], dtype=object)


def sizes_of(low: Floats, high: Floats) -> Exponents:
    """Return for each column the exponent of the power of two above its largest size."""
    _, sizes = np.frexp(np.maximum(np.abs(low), np.abs(high)))
    return np.maximum(sizes, LEAST_SIZE).astype(np.int64)


def count_digits(columns: Floats, sizes: Exponents) -> Exponents:
    """Return how many digits the values of columns have, of shape (n_columns, n_rows)."""
    least = np.full(len(columns), np.inf)
    for start in range(0, columns.shape[1], ROWS):
        bits = columns[:, start : start + ROWS].view(np.int64)
        mantissa = bits | HIDDEN
        # the last bit of the mantissa, times the power of two of the exponent; of a zero it is 0
        last = (mantissa & -mantissa) * (bits & EXPONENT).view(np.float64)
        last[last == 0] = np.inf
        least = np.minimum(least, last.min(axis=1))
    _, power = np.frexp(np.minimum(least, np.finfo(float).max))
    n_bits = sizes - (power - 53) + 1  # with the sign
    return np.asarray(np.clip(-(-n_bits // WIDTH), 1, DIGITS))


def multiply(columns: Floats, sizes: Exponents) -> tuple[Exponents, Integers]:
    """Return the exponents of columns, of shape (n_columns, n_rows), and Σ kᵢkⱼ."""
    n_digits = count_digits(columns, sizes)
    order = np.argsort(-n_digits, kind="stable")  # the first columns have most
    counts = [int((n_digits > place).sum()) for place in range(n_digits.max(initial=1))]
    scales = np.ldexp(1.0, WIDTH - 1 - sizes)[order, None]
    n = 1 + sum(counts)
    added = np.zeros((n, n), dtype=np.int64)
    # threads have little to share where products are small, and wait for one another
    with threadpool_limits(1 if n < WIDE else None, "blas"):
        for start in range(0, columns.shape[1], ROWS):
            rest = columns[order, start : start + ROWS]
            rest *= scales
            D = digits(rest, counts)
            sums = D @ D.T
            if not sums.max() <= EXACT:  # as where it is NaN
                raise ValueError("a value lies outside the range of its column")
            added += sums.astype(np.int64)
    back = np.argsort([*order, -1])  # k₀ comes first
    counts[0] += 1
    return sizes + 1 - WIDTH * n_digits, combine(added, counts)[np.ix_(back, back)]


def digits(rest: Floats, counts: Sequence[int]) -> Floats:
    """Return the digits of numbers in units of their first digit, of shape (n_columns, n_rows).

    The first counts[place] numbers have a digit at a place; the highest place comes first, and a
    row of ones last. A number and its digits have one sign: so no subtraction is rounded. `rest` is
    used up.
    """
    D = np.ones((sum(counts) + 1, rest.shape[1]))
    start = 0
    for count in reversed(counts):
        digit = D[start : start + count]
        np.trunc(rest[:count], out=digit)
        rest[:count] -= digit
        rest[:count] *= 2.0**WIDTH
        start += count
    return D


def combine(added: NDArray[np.int64], counts: Sequence[int]) -> Integers:
    """Make sums of products of k from those of `digits`."""
    ends = list(itertools.accumulate(reversed(counts), initial=0))[::-1]
    n_places = len(counts)
    totals = np.zeros((2 * n_places - 1, counts[0], counts[0]), dtype=np.int64)
    for a, b in itertools.product(range(n_places), repeat=2):
        part = added[ends[a + 1] : ends[a], ends[b + 1] : ends[b]]
        totals[a + b, : counts[a], : counts[b]] += part
    parts = (each.astype(object) for each in totals[::-1])
    return reduce(lambda high, low: (high << WIDTH) + low, parts)


def symmetric(upper: Sequence[int], n: int) -> Integers:
    """Make a matrix of the shape (n, n) from its upper triangle, row by row."""
    places, matrix = np.triu_indices(n), np.zeros((n, n), dtype=object)
    matrix[places] = matrix.T[places] = np.array(upper, dtype=object).reshape(len(places[0]))
    return matrix


def ask_sums(table: Table, sizes: Exponents, fold: str) -> tuple[Exponents, dict[int, Integers]]:
    """Return the exponents of the columns of a table, and for each fold Σ kᵢkⱼ, all by SQL."""
    tops = (double(2.0 ** (WIDTH - 1 - size)) for size in sizes.tolist())
    numbers = dict(enumerate(f"{x} * {top}" for x, top in zip(table.names, tops, strict=True)))
    # what the first, the first two, … digits leave
    rests = [f"max(abs(r{n}_{j}))" for j in numbers for n in range(1, DIGITS)]
    rows = split_digits(numbers, [DIGITS] * len(numbers), WIDTH, table, "0")
    left = np.array(table.ask(rests, rows), float).reshape(-1, DIGITS - 1)
    exponents = sizes + 1 - WIDTH * (1 + (left > 0).sum(axis=1))
    most = int((sizes + 1 - exponents).max()) // WIDTH
    width = WIDTH if table.n_rows * most <= FULL else SHORT
    n_digits = [-(-n_bits // width) for n_bits in (sizes + 1 - exponents).tolist()]
    firsts = zip(table.names, exponents.tolist(), n_digits, strict=True)
    scaled = (f"{x} * {double(2.0 ** ((1 - n) * width - e))}" for x, e, n in firsts)
    numbers = dict(enumerate(scaled))
    upper = [*((j,) for j in numbers), *combinations_with_replacement(numbers, 2)]
    found = add_up(numbers, upper, n_digits, width, table, fold)
    n = 1 + len(numbers)
    return exponents, {j: symmetric([rows, *sums], n) for j, (rows, sums) in found.items()}


def add_up(
    numbers: Numbers,
    products: Sequence[Product],
    n_digits: Counts,
    width: int,
    table: Table,
    fold: str = "0",
) -> dict[int, tuple[int, list[int]]]:
    """Return for each fold its rows, and sums of products of numbers over rows that SQL reads.

    A number is SQL, in units of its highest digit, and made of digits of `width` bits as by
    `digits`; the number of a row's fold is SQL, too.
    """
    found: dict[int, tuple[int, list[int]]] = {}
    each = max(1, MOST // (2 * max(n_digits) - 1))
    for start in range(0, len(products), each):
        part = products[start : start + each]
        used = {j: numbers[j] for j in sorted({j for product in part for j in product})}
        rows = split_digits(used, n_digits, width, table, fold)
        sums = [sum_digits(product, n_digits) for product in part]
        for group, n_rows, values in table.ask_by("fold", [*chain(*sums)], rows):
            ones = iter(values)
            _, totals = found.setdefault(group, (n_rows, []))
            totals += [reduce(lambda n, _: (n << width) + int(next(ones)), x, 0) for x in sums]
    return found


def split_digits(numbers: Numbers, n_digits: Counts, width: int, table: Table, fold: str) -> Rows:
    """Return rows that have digits of numbers as d0_j, d1_j, … and what these leave as r1_j, …."""
    rows = table.rows.select([f"{fold} AS fold", *(f"{x} AS r0_{j}" for j, x in numbers.items())])
    for a in range(max(n_digits[j] for j in numbers)):
        made = []
        for x, j in ((f"r{a}_{j}", j) for j in numbers if a < n_digits[j]):
            digit = f"CASE WHEN {x} < 0 THEN ceil({x}) ELSE floor({x}) END"
            made.append(f"CAST({digit} AS BIGINT) AS d{a}_{j}")
            made.append(f"({x} - {digit}) * {double(2.0**width)} AS r{a + 1}_{j}")
        rows = f"SELECT *, {', '.join(made)} FROM ({rows}) AS t"
    # a row that is not counted tells that the table has changed, and no sum overflows
    fits = " AND ".join(f"abs(r0_{j}) <= {double(2.0 ** (width - 1))}" for j in numbers)
    return Rows(f"({rows}) AS t", fits)


def sum_digits(product: Product, n_digits: Sequence[int]) -> list[str]:
    """Return in SQL what is added up of a product of numbers, the highest place first."""
    terms = defaultdict(list)
    for places in itertools.product(*(range(n_digits[j]) for j in product)):
        digits = (f"d{a}_{j}" for a, j in zip(places, product, strict=True))
        terms[sum(places)].append(" * ".join(digits))
    return [f"sum({' + '.join(terms[place])})" for place in sorted(terms)]


def root(value: Fraction) -> float:
    """Return the square root, correctly rounded.

    √(p/q) = √(pq) / q, scaled so that every number of 54 bits is whole. The floor, with one more
    bit for 'not exact', lies on the same side of each as the root does.
    """
    p, q = value.numerator, value.denominator
    shift = max(0, 58 - (p.bit_length() - q.bit_length()) // 2)
    square = p * q << 2 * shift
    whole = math.isqrt(square)
    return (2 * whole + (whole * whole != square)) / (q << shift + 1)


@dataclass(frozen=True, eq=False)
class Learned:
    """What training has seen: the sums of each fold, and R² of the fit of the others on it."""

    schema: Schema
    folds: Sequence[Sums]
    r2: Sequence[float]  # none where a fold is too small

    @cached_property
    def sums(self) -> Sums:
        """Those of all rows."""
        return total(self.folds)


def total(folds: Sequence[Sums]) -> Sums:
    """Return the sums of all rows."""
    first, *others = folds
    return sum(others, first)


def leave_out(folds: Sequence[Sums]) -> list[tuple[Sums, Sums]]:
    """Return the sums of each fold, and of the rows that are not in it."""
    every = total(folds)
    return [(fold, every.without(fold)) for fold in folds]


def save(learned: Learned, path: Path) -> None:
    """Write sums as JSON: of each fold the upper triangle of `products`, row by row."""
    sums, ends = learned.sums, np.triu_indices(1 + len(learned.sums.low))
    document = {"format": "regression sums", "version": 3, "table": learned.schema}
    document |= {name: getattr(sums, name).tolist() for name in ("low", "high", "exponents")}
    document["folds"] = [each.counted_in(sums.exponents)[ends].tolist() for each in learned.folds]
    files.save_json(document | {"r2": learned.r2}, path)


def load(path: Path) -> Learned:
    """Read what `save` wrote; for errors see `reading`."""
    with files.reading(path):
        found = files.load_json(path, dict[str, Any])
        low, high, exponents = (np.array(found[name]) for name in ("low", "high", "exponents"))
        folds = [Sums(low, high, exponents, symmetric(x, 1 + len(low))) for x in found["folds"]]
        return Learned(convert(found["table"], Schema), folds, found["r2"])
