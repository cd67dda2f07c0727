"""Exact sums of a table: all that a linear regression needs to know of its rows.

A value x is counted as the whole number k = floor(x · 2^-e + ½), 2^e being 2^-53 of the power of
two above the largest size in the column; that is as fine as doubles of this size are. Three signed
digits of 18 bits make k. Products of digits are whole numbers of at most 2^34, so that in a block
of 2^19 rows their sums are at most 2^53, and a product of matrices of doubles is exact, whatever
order and kernel BLAS takes. So Σ kᵢ and Σ kᵢkⱼ are the same integers on every machine, for any
order of the rows. See Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication and its applications", Numerical
Algorithms 59 (2012), 95-118.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from itertools import chain, combinations_with_replacement
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.columns.inputs import Schema
from stages.columns.sql import double
from stages.project import files
from stages.project.typed import convert
from stages.regression.linear import Floats
from stages.tables.relation import Rows
from stages.tables.spark import MOST
from stages.tables.table import Table

Product = tuple[int, ...]  # of the numbers at one or two places
Integers = NDArray[np.object_]  # Python's, of any size, or fractions of them

DIGIT_BITS = 18
DIGITS = 3
ROWS = 2**19  # of a block, see above
EXACT = 2**53  # up to which doubles have all whole numbers
FULL = 2**28  # rows whose sums of products are sure to fit 64 bits
MANY = 2**27  # rows, sums over which are sure to fit a BIGINT; with four short digits 2^34 are
LEAST_EXPONENT = -1000  # of a column's size, or powers of two would overflow
COLUMN = ("min", "max", "exponent", "sum", "products")  # what sums.json has of each column


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of the whole numbers kⱼ that stand for the features, then the target.

    k₀ is 1, so that the first row of `products` has the number of rows, and Σ kⱼ.
    """

    low: Floats  # range of each column, of shape (n_columns,)
    high: Floats
    exponents: NDArray[np.int64]  # a value of column j is kⱼ · 2^exponents[j]
    products: Integers  # Σ kᵢkⱼ, of shape (1 + n_columns, 1 + n_columns)

    @classmethod
    def of(cls, blocks: Iterable[Floats], low: Floats, high: Floats) -> Self:
        """Add up blocks of shape (n_rows, n_columns), whose columns have these ranges."""
        exponents = exponents_of(low, high)
        added = np.zeros((1 + DIGITS * len(low),) * 2, dtype=np.int64)
        products = combine(added)
        for block in blocks:
            for start in range(0, len(block), ROWS):
                D = digits(block[start : start + ROWS], exponents)
                sums = D @ D.T
                if not sums.max() <= EXACT:  # as where it is NaN
                    raise ValueError("a value lies outside the range of its column")
                added += sums.astype(np.int64)
                if added[0, 0] >= FULL:
                    products += combine(added)
                    added[:] = 0
        return cls(low, high, exponents, products + combine(added))

    @classmethod
    def of_table(cls, table: Table) -> Self:
        """Add up the rows of a table, wherever they are."""
        low, high = np.array(table.low), np.array(table.high)
        if not table.select:
            with files.reading(Path(table.folder)):
                return cls.of(table.blocks(), low, high)
        exponents = exponents_of(low, high)
        n_digits, width = (3, 18) if table.n_rows < MANY else (4, 14)
        scales = (double(2.0 ** (-e - (n_digits - 1) * width)) for e in exponents.tolist())
        numbers = [f"{x} * {scale}" for x, scale in zip(table.names, scales, strict=True)]
        columns = range(len(numbers))
        upper = [*((j,) for j in columns), *combinations_with_replacement(columns, 2)]
        found = add_up(numbers, upper, n_digits, width, table)
        products = symmetric([table.n_rows, *found], 1 + len(numbers))
        return cls(low, high, exponents, products)

    def of_columns(self, columns: Sequence[int]) -> "Sums":
        """Keep the columns at these positions."""
        j = np.array(columns)
        products = self.products[np.ix_([0, *j + 1], [0, *j + 1])]
        return Sums(self.low[j], self.high[j], self.exponents[j], products)

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
        mean, _ = self.moments(0.0, [*-coef, 1.0])
        return float(mean)


def fractions(values: Iterable[float]) -> Integers:
    return np.array([*map(Fraction, values)], dtype=object)


def exponents_of(low: Floats, high: Floats) -> NDArray[np.int64]:
    """Return for each column the exponent of the power of two that its values are counted in."""
    _, size = np.frexp(np.maximum(np.abs(low), np.abs(high)))
    return np.maximum(size, LEAST_EXPONENT).astype(np.int64) - 53


def digits(block: Floats, exponents: NDArray[np.int64]) -> Floats:
    """Return a row of ones, then the highest digits of all columns, the middle and the lowest ones.

    The shape is (1 + 3 n_columns, n_rows). A digit is floor(… + ½) of doubles: ties, and the double
    just below a tie, go up.
    """
    n_rows, n_columns = block.shape
    D = np.ones((1 + DIGITS * n_columns, n_rows))
    rest = block.T * np.ldexp(1.0, -exponents - (DIGITS - 1) * DIGIT_BITS)[:, None]
    for digit in D[1:].reshape(DIGITS, n_columns, n_rows):
        np.floor(np.add(rest, 0.5, out=digit), out=digit)
        rest -= digit
        rest *= 2.0**DIGIT_BITS
    return D


def combine(added: NDArray[np.int64]) -> Integers:
    """Make sums of products of k from those of digits."""

    def rows(sums: Integers) -> Integers:
        high, middle, low = sums[1:].reshape(DIGITS, -1, sums.shape[1])
        return np.vstack([sums[0], (high << 2 * DIGIT_BITS) + (middle << DIGIT_BITS) + low])

    return rows(rows(added.astype(object)).T)


def symmetric(upper: Sequence[int], n: int) -> Integers:
    """Make a matrix of the shape (n, n) from its upper triangle, row by row."""
    places, matrix = np.triu_indices(n), np.zeros((n, n), dtype=object)
    matrix[places] = matrix.T[places] = np.array(upper, dtype=object).reshape(len(places[0]))
    return matrix


def add_up(
    numbers: Sequence[str], products: Sequence[Product], n_digits: int, width: int, table: Table
) -> list[int]:
    """Add up products of numbers over rows that SQL reads.

    A number is SQL, in units of its highest digit, and made of digits of `width` bits as by
    `digits`.
    """
    totals = []
    each = max(1, MOST // len(sum_digits(products[-1], n_digits)))
    for start in range(0, len(products), each):
        part = products[start : start + each]
        used = sorted({j for product in part for j in product})
        rows = table.rows.select([f"{numbers[j]} AS r0_{j}" for j in used])
        for a in range(n_digits):
            made = (
                f"CAST(floor(r{a}_{j} + 0.5e0) AS BIGINT) AS d{a}_{j},"
                f" (r{a}_{j} - floor(r{a}_{j} + 0.5e0)) * {double(2.0**width)} AS r{a + 1}_{j}"
                for j in used
            )
            rows = f"SELECT *, {', '.join(made)} FROM ({rows}) AS t"
        # a row that is not counted tells that the table has changed, and no sum overflows
        fits = " AND ".join(f"abs(r0_{j}) <= {double(2.0 ** (width - 1))}" for j in used)
        sums = [sum_digits(product, n_digits) for product in part]
        found = iter(table.ask([*chain(*sums)], Rows(f"({rows}) AS t", fits)))
        totals += [reduce(lambda n, _: (n << width) + int(next(found)), x, 0) for x in sums]
    return totals


def sum_digits(product: Product, n_digits: int) -> list[str]:
    """Return in SQL what is added up of a product of numbers, the highest place first."""
    terms = defaultdict(list)
    for places in itertools.product(range(n_digits), repeat=len(product)):
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


def save(sums: Sums, schema: Schema, path: Path) -> None:
    """Write the sums as JSON; a column has its products with itself and the columns behind it."""
    (_, *totals), *products = sums.products.tolist()
    behind = [row[1 + j :] for j, row in enumerate(products)]
    parts = sums.low.tolist(), sums.high.tolist(), sums.exponents.tolist(), totals, behind
    columns = [dict(zip(COLUMN, each, strict=True)) for each in zip(*parts, strict=True)]
    document = {"format": "regression sums", "version": 2, "table": schema, "rows": sums.n_rows}
    files.save_json(document | {"columns": columns}, path)


def load(path: Path) -> tuple[Schema, Sums]:
    """Read what `save` wrote; for errors see `reading`."""
    with files.reading(path):
        found = files.load_json(path, dict[str, Any])
        low, high, exponents, totals, behind = (
            [column[name] for column in found["columns"]] for name in COLUMN
        )
        products = symmetric([found["rows"], *totals, *chain(*behind)], 1 + len(totals))
        ends = np.array(low, float), np.array(high, float)
        return convert(found["table"], Schema), Sums(*ends, np.array(exponents), products)
