"""Decide by the training rows which columns become which inputs, and what is done about gaps."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from msgspec.structs import replace

from stages.columns.inputs import MOST, Input, Schema
from stages.columns.sql import double
from stages.columns.terms import parse_term
from stages.project.cli import InputError, plural
from stages.project.files import SAMPLE_COLUMNS
from stages.project.params import Load
from stages.project.text import join, label, show
from stages.tables.relation import Relation, Rows, aggregate, measure

WORTH_AN_INPUT = 0.01  # share of the training rows in which a column is empty
SAME, EMPTY = "the same text in all training rows", "no values in training rows"
OUTPUT, TAKEN = {*SAMPLE_COLUMNS, "prediction"}, "the output has a column of this name, rename it"
FILL_DIGITS = 6  # a short number, which every engine reads right
FILL_ERROR = 0.001  # of the range of a column: a larger one takes all digits
Levels = Mapping[str, Sequence[str]]  # of texts
Part = tuple[int, float, float]  # its rows, and the least and greatest target among them


@dataclass(frozen=True)
class Encoding:
    """What became of the columns."""

    schema: Schema
    left_out: Mapping[str, str]  # columns that are no inputs, and why
    gaps: Mapping[str, int]  # rows in which each column is empty, the target included, if any
    gap_rows: int  # rows with a gap in any of these
    kept: str  # the condition in SQL that a row is kept
    dropped: int  # rows that it drops


def encode(found: Relation, training: Rows, config: Load) -> Encoding:
    """Decide which inputs there are, and refuse gaps where `load.missing` is fail."""
    left_out, levels = dict(found.left_out), {}
    for name in (name for name, kind in found.kinds.items() if kind == "text"):
        n_levels, levels[name] = _count_levels(name, training, config.levels, found)
        if n_levels > config.levels:
            left_out[name] = f"text of {n_levels:,} levels, load.levels is {config.levels}"
        elif odd := [level for level in levels[name] if not level.isprintable()]:
            left_out[name] = f"its level {odd[0]!r} does not print"
        elif n_levels < 2 and config.missing != "mean":  # now, so that its gaps drop no row
            left_out[name] = SAME if n_levels else EMPTY
    left_out |= {name: TAKEN for name in found.kinds if name in OUTPUT}
    kinds = {name: kind for name, kind in found.kinds.items() if name not in left_out}
    products = [make_product(term, found, levels, left_out) for term in config.derived]
    made = {each.name: each.sql(found.column, found.on.dialect) for each in products}

    columns = {name: found.column(name) for name in (*kinds, found.target)} | made
    gap_rows, gaps = _count_gaps(columns, found)
    kept = _complete([*columns.values()] if config.missing == "drop" else [columns[found.target]])
    dropped = gap_rows if config.missing == "drop" else gaps.get(found.target, 0)
    training = training.only(kept)
    if dropped:
        for name in levels.keys() & kinds.keys():
            _, levels[name] = _count_levels(name, training, config.levels, found)

    fills = _find_fills(kinds, made, training, found) if config.missing == "mean" and kinds else {}
    inputs: list[Input] = []
    for name in (name for name in kinds if name in (config.features or kinds)):
        empty, fill = fills.get(name, (0.0, None))
        some = [*make_inputs(name, found, levels.get(name, ()), empty, fill)]
        inputs += some
        if not some:
            left_out[name] = EMPTY if empty == 1 else SAME
    for each in products:  # one without a value in training is 0, and train leaves it out
        inputs.append(replace(each, fill=fills[each.name][1] or 0.0 if fills else None))
    _check_names(inputs, found, left_out, config)
    if gaps and config.missing == "fail":
        what = f"{gap_rows:,} of {found.n_rows:,} rows have a gap, {list_gaps(gaps)}"
        how = "drop leaves these rows out, and mean puts the training mean in, or the baseline"
        raise InputError(f"{found.dataset}: {what}; load.missing: {how}")
    schema = Schema(found.dataset, found.target, config.missing, levels, tuple(inputs), found.na)
    return Encoding(schema.of(range(len(inputs))), left_out, gaps, gap_rows, kept, dropped)


def make_inputs(
    name: str, found: Relation, levels: Sequence[str], empty: float, fill: float | None
) -> Iterator[Input]:
    """Yield the inputs that a column becomes, `empty` being the share of rows without a value."""
    kind, reading = found.kinds[name], found.readings.get(name)
    if empty < 1:
        for level in levels[1:] if kind == "text" else [None]:
            yield Input(name, kind, level, fill=fill, reading=reading)
        if empty >= WORTH_AN_INPUT:
            yield Input(name, kind, missing=True, reading=reading)


def make_product(text: str, found: Relation, levels: Levels, left_out: Mapping[str, str]) -> Input:
    """Return the input that a term of load.derived asks for."""
    (name, term), factors = parse_term(text), []
    for _, column, level in term:
        known = levels.get(column, ())
        if column in left_out or (level not in known if known else level is not None):
            why = f"write one of its levels: {join(known)}" if known else "it has no levels"
            why = f"{label(column)}: {left_out.get(column, why)}"
            raise InputError(f"{found.dataset}: load.derived: {name}: {why}")
        reading = found.readings.get(column)
        factors.append(Input(column, found.kinds[column], level, reading=reading))
    operators = "".join(operator for operator, *_ in term)
    return Input(name, "product", factors=tuple(factors), operators=operators)


def _check_names(
    inputs: Sequence[Input], found: Relation, left_out: Mapping[str, str], config: Load
) -> None:
    reasons = list_reasons(left_out)
    if config.features and left_out:
        raise InputError(f"{found.dataset}: load.features: {reasons}")
    if not inputs:
        why = f": {reasons}" if left_out else ""
        raise InputError(f"{found.dataset}: no column but {found.target} can be an input{why}")
    if len(inputs) > MOST:
        many = f"{count_features(inputs)}, and at most {MOST:,} are allowed"
        advice = "list columns in load.features, or lower load.levels"
        raise InputError(f"{found.dataset}: its columns would become {many}: {advice}")
    names = [found.target, *(each.name for each in inputs)]
    for name in (name for name in names if names.count(name) > 1):
        raise InputError(f"{found.dataset}: two inputs would be called {name}: rename a column")


def check(parts: Sequence[Part], inputs: Sequence[Input], found: Relation, config: Load) -> None:
    """Refuse fewer training rows than coefficients, fewer test rows than R² needs, or no spread.

    The parts are the training rows and the test rows.
    """
    (n_train, *_), (n_test, *_) = parts
    if (config.test_size and n_test < 2) or n_train <= len(inputs):
        leaves = f"leaves {n_train:,} rows for training and {n_test:,} for the test"
        needs = f"at least {len(inputs) + 1:,} and 2 are needed for {count_features(inputs)}"
        needs += "; with a key this is chance, which another load.seed changes" * bool(config.keys)
        raise InputError(f"{found.dataset}: load.test_size {config.test_size} {leaves}; {needs}")
    for (n_rows, low, high), which in zip(parts, ("training", "test"), strict=True):
        if n_rows and low == high:
            same = f"{label(found.target)} is {low} in all {which} rows"
            raise InputError(f"{found.dataset}: {same}, so that R² is undefined")


def count_features(inputs: Sequence[Input]) -> str:
    """Return how many features there are, and which columns became most of them."""
    most = Counter(each.column for each in inputs).most_common(3)
    many = [f"{label(name)} {count:,}" for name, count in most if count > 1]
    return ", ".join([plural(len(inputs), "feature"), *many])


def list_reasons(left_out: Mapping[str, str]) -> str:
    """List columns, and why each is left out."""
    return "; ".join(f"{label(name)}: {why}" for name, why in left_out.items())


def list_twins(levels: Levels) -> str:
    """List texts of which two levels differ in case or in spaces around them only, and these."""
    pairs = []
    for name, texts in levels.items():
        seen: dict[str, str] = {}
        for text in texts:
            if (first := seen.setdefault(text.strip().casefold(), text)) != text:
                pairs.append(f"{label(name)}: {show(first)} and {show(text)}")
                break
    return "; ".join(pairs)


def list_gaps(gaps: Mapping[str, int]) -> str:
    """List columns, and in how many rows each is empty."""
    return ", ".join(f"{label(name)} in {count:,}" for name, count in gaps.items())


def _complete(columns: Iterable[str]) -> str:
    """Return the condition that columns have values."""
    return " AND ".join(f"{x} IS NOT NULL" for x in columns)


def _count_gaps(columns: Mapping[str, str], found: Relation) -> tuple[int, dict[str, int]]:
    """Count the rows with a gap in any of the columns, and in each that has one."""
    asked = [f"count(*) FILTER (WHERE NOT ({_complete(columns.values())}))"]
    asked += [f"count(*) - count({x})" for x in columns.values()]
    _, (rows, *counts) = aggregate(asked, found.rows, found.on)
    return rows, {name: count for name, count in zip(columns, counts, strict=True) if count}


def _count_levels(name: str, rows: Rows, most: int, found: Relation) -> tuple[int, tuple[str, ...]]:
    """Return how many levels a text has, and these: the most frequent first, the others sorted."""
    x = found.column(name)
    columns = [f"{x} AS level", "count(*) AS n", "count(*) OVER () AS levels"]
    query = rows.only(f"{x} IS NOT NULL").select(columns)
    counted = found.on.rows(f"{query} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most}")
    first, *others = [level for level, _, _ in counted] or [""]
    return (counted[0][2] if counted else 0), (first, *sorted(others))


def _find_fills(
    kinds: Mapping[str, str], made: Mapping[str, str], training: Rows, found: Relation
) -> dict[str, tuple[float, float | None]]:
    """Return for each column the share of rows in which it is empty, and what to put in there.

    That is the mean, to FILL_DIGITS digits if FILL_ERROR allows. Sums are those of whole numbers,
    multiples of 2^-53 of the largest size, so that no order of the rows can change them.
    """
    values = dict(made)
    for name, kind in kinds.items():
        values[name] = f"CASE WHEN {found.column(name)} IS NOT NULL THEN 0e0 END"  # of a baseline
        if kind != "text":
            values[name] = Input(name, kind).sql(found.column, found.on.dialect)
    n_rows, counts, low, high = measure([*values.values()], training, found.on)
    exponents = (53 - np.frexp(np.maximum(-low, high))[1]).tolist()
    scaled = (f"{x} * {double(2.0**e)}" for x, e in zip(values.values(), exponents, strict=True))
    whole = [f"sum(CAST(floor({x} + 0.5e0) AS DECIMAL(38, 0)))" for x in scaled]
    _, totals = aggregate(whole, training, found.on)
    fills: dict[str, tuple[float, float | None]] = {}
    numbers = zip(values, totals, counts, exponents, low.tolist(), high.tolist(), strict=True)
    for name, total, count, exponent, least, most in numbers:
        fill = None
        if count:
            mean = float(Fraction(int(total), count) / Fraction(2) ** exponent)
            short = float(f"{mean:.{FILL_DIGITS}g}")
            error = FILL_ERROR * (most - least)
            fill = short if least <= short <= most and abs(short - mean) <= error else mean
        fills[name] = (n_rows - count) / max(1, n_rows), fill
    return fills
