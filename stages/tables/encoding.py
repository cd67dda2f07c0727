"""Decide by the training rows which columns become which inputs, and what is done about gaps."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

from stages.project import cli
from stages.project.cli import InputError, plural
from stages.project.files import SAMPLE_COLUMNS
from stages.project.params import Load
from stages.project.text import named
from stages.tables.inputs import Input, Schema
from stages.tables.sql import double
from stages.tables.table import VIEW, Engine, aggregates

WORTH_AN_INPUT = 0.01  # share of the training rows in which a column is empty
SAME, EMPTY = "the same text in all training rows", "no values in training rows"
FILL_DIGITS = 6  # a short number, which every engine reads right
FILL_ERROR = 0.001  # of the range of a column, which more digits keep to


@dataclass(frozen=True)
class Gathered:
    """A data set before it is split: the view VIEW, whose columns have a kind each.

    Attributes
    ----------
    engine : Engine
        What has the view.
    dataset, target, unit : str
    kinds : mapping of str to {'number', 'boolean', 'date', 'text'}
        The columns to predict from.
    left_out : mapping of str to str
        Columns that cannot be inputs, and why.
    n_rows : int
    """

    engine: Engine
    dataset: str
    target: str
    unit: str
    kinds: Mapping[str, str]
    left_out: Mapping[str, str]
    n_rows: int


@dataclass(frozen=True)
class Encoding:
    """What became of the columns.

    Attributes
    ----------
    schema : Schema
    left_out : mapping of str to str
        Columns that are no inputs, and why.
    gaps : mapping of str to int
        In how many rows each column is empty, the target included, if it is in any.
    gap_rows : int
        Rows with a gap in any of these.
    kept : str
        The condition in SQL that a row is kept.
    dropped : int
        Rows that it drops.
    """

    schema: Schema
    left_out: Mapping[str, str]
    gaps: Mapping[str, int]
    gap_rows: int
    kept: str
    dropped: int


def encoded(found: Gathered, training: str, config: Load) -> Encoding:
    """Decide which inputs there are.

    Parameters
    ----------
    found : Gathered
    training : str
        The training rows in SQL, beginning with FROM and ending in a condition.
    config : Load

    Raises
    ------
    InputError
        No column can be an input, or one that `load.features` names cannot, or its name is taken.
    """
    left_out = dict(found.left_out)
    levels = {}
    for name in (name for name, kind in found.kinds.items() if kind == "text"):
        n_levels, levels[name] = _levels(name, training, config.levels, found.engine)
        if n_levels > config.levels:
            left_out[name] = f"text of {n_levels:,} levels, load.levels is {config.levels}"
        elif odd := [level for level in levels[name] if not level.isprintable()]:
            left_out[name] = f"its level {odd[0]!r} does not print"
        elif n_levels < 2 and config.missing != "mean":  # now, so that its gaps drop no row
            left_out[name] = SAME if n_levels else EMPTY
    columns = [name for name in found.kinds if name not in left_out]
    every = [*columns, found.target]
    complete = " AND ".join(f"{_column(name, found.engine)} IS NOT NULL" for name in every)
    _, gap_rows, *counts = _counts(every, complete, f"FROM {VIEW}", found.engine)
    gaps = {name: count for name, count in zip(every, counts, strict=True) if count}
    kept, dropped = "TRUE", 0
    if config.missing == "drop" and gaps:
        kept, dropped = complete, gap_rows
    elif config.missing == "mean" and found.target in gaps:
        kept, dropped = f"{_column(found.target, found.engine)} IS NOT NULL", gaps[found.target]
    if dropped:
        training = f"{training} AND {kept}"
        for name in levels.keys() & {*columns}:
            _, levels[name] = _levels(name, training, config.levels, found.engine)
    fills: Mapping[str, float | None] = dict.fromkeys(columns)
    n_rows = 0
    if config.missing == "mean":
        n_rows, _, *counts = _counts(every, complete, training, found.engine)
    if n_rows:
        missing = {name: count / n_rows for name, count in zip(every, counts, strict=True)}
        left_out |= {name: EMPTY for name in columns if missing[name] == 1}
        columns = [name for name in columns if name not in left_out]
        numbers = [name for name in columns if found.kinds[name] != "text"]
        means = _means({name: found.kinds[name] for name in numbers}, training, found.engine)
        fills = dict.fromkeys(columns, 0.0) | means
    inputs = []
    for name in columns:
        kind, fill = found.kinds[name], fills[name]
        if kind == "text":
            inputs += [Input(name, kind, level, fill=fill) for level in levels[name][1:]]
        else:
            inputs.append(Input(name, kind, fill=fill))
        if fill is not None and missing[name] >= WORTH_AN_INPUT:
            inputs.append(Input(name, kind, missing=True))
        elif kind == "text" and len(levels[name]) < 2:
            left_out[name] = SAME
    _check({each.column for each in inputs}, found, left_out, config)
    names = [found.target, *(each.name for each in inputs)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{found.dataset}: two inputs would be called {twice[0]}: rename a column")
    if not inputs:
        why = f": {reasons(left_out)}" if left_out else ""
        raise InputError(f"{found.dataset}: no column but {found.target} can be an input{why}")
    schema = Schema(
        found.dataset,
        found.target,
        found.unit,
        config.missing,
        {name: levels[name] for name in columns if name in levels and name not in left_out},
        tuple(inputs),
    )
    return Encoding(schema, left_out, gaps, gap_rows, kept, dropped)


def _check(
    columns: Collection[str], found: Gathered, left_out: Mapping[str, str], config: Load
) -> None:
    if config.features and left_out:
        raise InputError(f"{found.dataset}: load.features: {reasons(left_out)}")
    for name in (*SAMPLE_COLUMNS, "prediction"):
        if name in columns:
            raise InputError(
                f"{found.dataset}: no feature can be called {name}, which is a column of the"
                " output: rename it, or list others in load.features"
            )


def reasons(left_out: Mapping[str, str]) -> str:
    """List columns, and why each is left out."""
    return "; ".join(f"{named(name)}: {why}" for name, why in left_out.items())


def check_gaps(found: Encoding, n_rows: int) -> None:
    """Refuse gaps that `load.missing` has no remedy for, and say which rows are dropped."""
    schema = found.schema
    where = ", ".join(f"{named(name)} in {count:,}" for name, count in found.gaps.items())
    counted = f"{found.gap_rows:,} of {n_rows:,} rows have a gap, {where}"
    if schema.missing == "fail" and found.gaps:
        raise InputError(
            f"{schema.dataset}: {counted}; load.missing: drop leaves these rows out, and mean puts"
            " the mean of the training rows in, or the most frequent text"
        )
    if schema.missing == "drop" and found.gaps:
        cli.say(f"load: {schema.dataset}: {counted}; these are dropped")
    if schema.missing == "mean" and found.dropped:
        dropped = plural(found.dropped, "row")
        cli.say(f"load: {schema.dataset}: dropped {dropped} without {named(schema.target)}")


def _column(name: str, engine: Engine) -> str:
    return f"{VIEW}.{engine.dialect.identifier(name)}"


def _levels(name: str, training: str, most: int, engine: Engine) -> tuple[int, tuple[str, ...]]:
    """Return how many levels a text has, and these: the most frequent first, the others sorted."""
    x = _column(name, engine)
    rows = engine.rows(
        f"SELECT {x} AS level, count(*) AS n, count(*) OVER () AS levels {training}"
        f" AND {x} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most}",
    )
    first, *others = [level for level, _, _ in rows] or [""]
    return (rows[0][2] if rows else 0), (first, *sorted(others))


def _counts(names: list[str], complete: str, rows: str, engine: Engine) -> tuple[int, ...]:
    """Count rows, rows with a gap, and those in which each column is empty."""
    gaps = [f"count(*) - count({_column(name, engine)})" for name in names]
    n_rows, counts = aggregates(engine, [f"count(*) FILTER (WHERE NOT ({complete}))", *gaps], rows)
    return n_rows, *counts


def _means(kinds: Mapping[str, str], training: str, engine: Engine) -> dict[str, float]:
    """Return the mean of each column, to FILL_DIGITS digits or as many as FILL_ERROR takes.

    Sums are those of whole numbers, multiples of 2^-53 of the largest size, so that no order of
    the rows can change them.
    """
    if not kinds:
        return {}
    values = [
        Input(name, kind).sql(_column(name, engine), engine.dialect) for name, kind in kinds.items()
    ]
    ranges = [each for x in values for each in (f"min({x})", f"max({x})", f"count({x})")]
    _, found = aggregates(engine, ranges, training)
    limits = [*zip(found[::3], found[1::3], strict=True)]
    exponents = [53 - math.frexp(max(-low, high))[1] for low, high in limits]
    whole = [
        f"sum(CAST(floor({x} * {double(2.0**e)} + 0.5e0) AS DECIMAL(38, 0)))"
        for x, e in zip(values, exponents, strict=True)
    ]
    _, sums = aggregates(engine, whole, training)
    means = (
        float(Fraction(int(total), n) / Fraction(2) ** e)
        for total, n, e in zip(sums, found[2::3], exponents, strict=True)
    )
    return {
        name: _shortened(mean, *limit)
        for name, mean, limit in zip(kinds, means, limits, strict=True)
    }


def _shortened(mean: float, low: float, high: float) -> float:
    """Round a mean to the fewest digits that keep it in its range, and off by FILL_ERROR of it."""
    rounded = (float(f"{mean:.{digits}g}") for digits in range(FILL_DIGITS, 17))
    most = FILL_ERROR * (high - low)
    return next((x for x in rounded if low <= x <= high and abs(x - mean) <= most), mean)
