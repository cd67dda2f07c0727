"""Decide by the training rows which columns become which inputs, and what is done about gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from stages.columns.inputs import Input, Schema
from stages.columns.sql import double
from stages.project import cli
from stages.project.cli import InputError, plural
from stages.project.files import SAMPLE_COLUMNS
from stages.project.params import Load
from stages.project.text import named
from stages.tables.relation import Relation, Rows, aggregate, measure

WORTH_AN_INPUT = 0.01  # share of the training rows in which a column is empty
SAME, EMPTY = "the same text in all training rows", "no values in training rows"
FILL_DIGITS = 6  # a short number, which every engine reads right
FILL_ERROR = 0.001  # of the range of a column, which more digits keep to


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
    """Decide which inputs there are.

    An `InputError` says that no column can be an input, that one which `load.features` names
    cannot, or that its name is taken.
    """
    left_out, levels = dict(found.left_out), {}
    for name in (name for name, kind in found.kinds.items() if kind == "text"):
        n_levels, levels[name] = _levels(name, training, config.levels, found)
        if n_levels > config.levels:
            left_out[name] = f"text of {n_levels:,} levels, load.levels is {config.levels}"
        elif odd := [level for level in levels[name] if not level.isprintable()]:
            left_out[name] = f"its level {odd[0]!r} does not print"
        elif n_levels < 2 and config.missing != "mean":  # now, so that its gaps drop no row
            left_out[name] = SAME if n_levels else EMPTY
    kinds = {name: kind for name, kind in found.kinds.items() if name not in left_out}

    gap_rows, gaps = _gaps([*kinds, found.target], found)
    needed = {"fail": [], "drop": [*kinds, found.target], "mean": [found.target]}[config.missing]
    kept = _complete(needed, found)
    dropped = {"fail": 0, "drop": gap_rows, "mean": gaps.get(found.target, 0)}[config.missing]
    training = training.only(kept)
    if dropped:
        for name in levels.keys() & kinds.keys():
            _, levels[name] = _levels(name, training, config.levels, found)

    fills = _fills(kinds, training, found) if config.missing == "mean" and kinds else {}
    inputs = []
    for name, kind in kinds.items():
        share, fill = fills.get(name, (0.0, None))
        made = inputs_of(name, kind, levels.get(name, ()), share, fill)
        inputs += made
        if not made:
            left_out[name] = EMPTY if share == 1 else SAME
    _check(inputs, found, left_out, config)
    used = {each.column: levels[each.column] for each in inputs if each.kind == "text"}
    head = found.dataset, found.target, found.unit, config.missing
    return Encoding(Schema(*head, used, tuple(inputs)), left_out, gaps, gap_rows, kept, dropped)


def inputs_of(
    name: str, kind: str, levels: Sequence[str], empty: float, fill: float | None
) -> list[Input]:
    """Return the inputs that a column becomes, `empty` being the share of rows without a value."""
    if empty == 1:
        return []
    each = levels[1:] if kind == "text" else [None]
    inputs = [Input(name, kind, level, fill=fill) for level in each]
    if empty >= WORTH_AN_INPUT:
        inputs.append(Input(name, kind, missing=True))
    return inputs


def _check(
    inputs: Sequence[Input], found: Relation, left_out: Mapping[str, str], config: Load
) -> None:
    if config.features and left_out:
        raise InputError(f"{found.dataset}: load.features: {list_reasons(left_out)}")
    columns = {each.column for each in inputs}
    for name in (name for name in (*SAMPLE_COLUMNS, "prediction") if name in columns):
        raise InputError(
            f"{found.dataset}: no feature can be called {name}, which is a column of the"
            " output: rename it, or list others in load.features"
        )
    names = [found.target, *(each.name for each in inputs)]
    for name in (name for name in names if names.count(name) > 1):
        raise InputError(f"{found.dataset}: two inputs would be called {name}: rename a column")
    if not inputs:
        why = f": {list_reasons(left_out)}" if left_out else ""
        raise InputError(f"{found.dataset}: no column but {found.target} can be an input{why}")


def list_reasons(left_out: Mapping[str, str]) -> str:
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
    if found.dropped:
        without = f"dropped {plural(found.dropped, 'row')} without {named(schema.target)}"
        told = f"{counted}; these are dropped" if schema.missing == "drop" else without
        cli.say(f"load: {schema.dataset}: {told}")


def _complete(names: Sequence[str], found: Relation) -> str:
    """Return the condition that columns have values."""
    return " AND ".join(f"{found.column(name)} IS NOT NULL" for name in names) or "TRUE"


def _gaps(names: Sequence[str], found: Relation) -> tuple[int, dict[str, int]]:
    """Count the rows with a gap in any of the columns, and in each that has one."""
    asked = [f"count(*) FILTER (WHERE NOT ({_complete(names, found)}))"]
    asked += [f"count(*) - count({found.column(name)})" for name in names]
    _, (rows, *counts) = aggregate(asked, found.rows, found.on)
    return rows, {name: count for name, count in zip(names, counts, strict=True) if count}


def _levels(name: str, rows: Rows, most: int, found: Relation) -> tuple[int, tuple[str, ...]]:
    """Return how many levels a text has, and these: the most frequent first, the others sorted."""
    x = found.column(name)
    columns = [f"{x} AS level", "count(*) AS n", "count(*) OVER () AS levels"]
    query = rows.only(f"{x} IS NOT NULL").select(columns)
    counted = found.on.rows(f"{query} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {most}")
    first, *others = [level for level, _, _ in counted] or [""]
    return (counted[0][2] if counted else 0), (first, *sorted(others))


def _fills(
    kinds: Mapping[str, str], training: Rows, found: Relation
) -> dict[str, tuple[float, float | None]]:
    """Return for each column the share of rows in which it is empty, and what to put in there.

    That is the mean, to FILL_DIGITS digits or as many as FILL_ERROR takes. Sums are those of whole
    numbers, multiples of 2^-53 of the largest size, so that no order of the rows can change them.
    """
    values = []
    for name, kind in kinds.items():
        x = found.column(name)
        baseline = f"CASE WHEN {x} IS NOT NULL THEN 0e0 END"  # which is 0 in all inputs of a text
        values.append(baseline if kind == "text" else Input(name, kind).sql(x, found.on.dialect))
    n_rows, counts, low, high = measure(values, training, found.on)
    exponents = 53 - np.frexp(np.maximum(-low, high))[1]
    scales = map(double, np.ldexp(1.0, exponents).tolist())
    whole = [
        f"sum(CAST(floor({x} * {scale} + 0.5e0) AS DECIMAL(38, 0)))"
        for x, scale in zip(values, scales, strict=True)
    ]
    _, totals = aggregate(whole, training, found.on)
    fills = {}
    numbers = zip(kinds, totals, counts, exponents.tolist(), low, high, strict=True)
    for name, total, count, exponent, least, most in numbers:
        fill = None
        if count:
            mean = Fraction(int(total), count) / Fraction(2) ** exponent
            fill = _shorten(float(mean), float(least), float(most))
        fills[name] = (n_rows - count) / max(1, n_rows), fill
    return fills


def _shorten(mean: float, low: float, high: float) -> float:
    """Round a mean to the fewest digits that keep it in its range, and off by FILL_ERROR of it."""
    rounded = (float(f"{mean:.{digits}g}") for digits in range(FILL_DIGITS, 17))
    most = FILL_ERROR * (high - low)
    return next((x for x in rounded if low <= x <= high and abs(x - mean) <= most), mean)
