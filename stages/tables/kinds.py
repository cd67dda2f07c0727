"""Tell what each column holds: by its type, or where it is text of CSV, by how all of it reads."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from stages.columns import source
from stages.columns.engine import DuckDB, cell
from stages.columns.inputs import MUST_BE
from stages.columns.readings import READINGS
from stages.columns.source import Source
from stages.project import cli
from stages.project.cli import plural
from stages.project.params import Load
from stages.project.text import join, label, show
from stages.tables.conversion import FIRST, convert, store
from stages.tables.relation import Engine, Rows, aggregate

SMALLEST, LARGEST = 1e-100, 1e100  # sizes of a value, so that products are numbers too
# what a value must be to be learned from; one of load.key is of the kind 'key'
FIT = MUST_BE | {
    "number": f"a finite number, 0 or {SMALLEST:g} to {LARGEST:g} in size",
    "key": "text or whole numbers",
}
# types of a key: two engines write others as different texts
KEY = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UUID|(VAR)?CHAR(\(\d+\))?|STRING")
POINT, COMMA = "1,234.5", "1.234,5"
DATES = {"day_first": "31.12.2020", "month_first": "12/31/2020"}
PERCENT = f"{POINT} %", f"{COMMA} %"
# readings that one text can have both, and values that differ
DOUBTS = ((POINT, COMMA), PERCENT, (*DATES.values(),))
MISTAKES, FEW = 0.01, 2  # share and number of values up to which those that do not fit are mistakes
SHOWN = 3  # of them

Counts = Counter[tuple[str, str]]  # values that meet a test, by column and test


class Column(NamedTuple):
    """What a column holds."""

    kind: str = ""
    reading: str | None = None  # of text of CSV
    left_out: str = ""  # why it can be no input
    problem: str = ""  # what somebody must decide first
    is_doubtful: bool = False  # it may be text, as more does not fit than mistakes
    marker: str = ""  # all that does not fit, if that is one text without a digit


def list_tests(part: Source, name: str) -> Iterator[tuple[str, str]]:
    """Yield tests of a column's values; those that do not fit meet that of a kind or a reading."""
    present, kind = part.present(name), part.kind_of(name)
    yield "value", present
    if kind == "number":
        x = part.cast(name, kind)
        yield "number", f"NOT (abs({x}) BETWEEN {SMALLEST} AND {LARGEST} OR {x} = 0 OR isnan({x}))"
    elif kind == "date":
        yield "date", part.unreadable(name, kind)
    elif part.kind == "csv" and kind == "text":
        for key, reading in READINGS.items():
            x = reading.sql(part.column(name))
            yield key, f"CASE WHEN {x} IS NULL THEN {present} ELSE FALSE END"


def tell_columns(
    parts: Sequence[Source], names: Sequence[str], config: Load, scratch: Path, on: Engine
) -> tuple[Sequence[Source], list[int], dict[str, Column]]:
    """Return the parts, CSV as what it holds; their numbers of rows; and what the columns hold."""
    files, texts = parts, {*config.keys, *config.categories}
    gaps: Mapping[str, Mapping[str, int]] = {}
    while True:
        if isinstance(on, DuckDB) and files[0].kind == "csv":
            columns = [*names, *config.keys]
            parts, gaps = convert(files, columns, texts, scratch, on)
        surveys = [survey(part, names, config.keys, on) for part in parts]
        sizes, counts = [size for size, _ in surveys], sum((each for _, each in surveys), Counts())
        counts += count_doubts(names, parts, counts, on)
        decimal, doubtful = find_decimal(names, parts, counts, on)
        if not doubtful:
            break
        cli.say(
            f"{on.name}: decimals are commas, so that 1.479 is 1479 in {join(sorted(doubtful))}"
        )
        texts |= doubtful
    if gaps:
        told = (
            f"{label(name)} has {show(marker)} in {plural(count, 'row')}"
            for name, markers in gaps.items()
            for marker, count in markers.items()
        )
        cli.say(f"{on.name}: gaps by load.na: {', '.join(told)}")
    found = {name: choose_column(name, parts, counts, decimal, config) for name in names}
    for name, column in found.items():
        test = column.reading or column.kind
        if counts[name, test]:
            marker = find_marker(name, test, parts, on) if counts[name, test] > FEW else ""
            if column.is_doubtful and not marker:
                few = f"{counts[name, test]:,} of {counts[name, 'value']:,} values are no"
                cli.say(f"{on.name}: {label(name)} is taken for text: {few} {column.kind}s")
                found[name] = Column("text")
            else:
                problem = show_mistakes(name, test, parts, counts, config, on)
                found[name] = column._replace(problem=problem, marker=marker)
    for key in (key for key in config.keys if counts[key, "key"]):
        found[key] = Column(problem=show_mistakes(key, "key", parts, counts, config, on))
    readings = {name: column.reading for name, column in found.items()}
    parts = [part.read_as(readings, part.na) for part in parts]
    if isinstance(on, DuckDB) and any(readings.values()):
        parts = store(parts, {name: column.kind for name, column in found.items()}, scratch, on)
        stored = [name for name, each in found.items() if each.reading and each.kind == "number"]
        counts = sum((survey(part, stored, [], on)[1] for part in parts), Counts())
        for name in (name for name in stored if counts[name, "number"]):
            problem = show_mistakes(name, "number", parts, counts, config, on)
            found[name] = found[name]._replace(problem=problem)
    return parts, sizes, found


def survey(
    part: Source, names: Sequence[str], keys: Sequence[str], on: Engine
) -> tuple[int, Counts]:
    """Count the rows, and the values that meet the tests of their columns.

    A reading that none of the first values of a column fits is not tried on the others.
    """
    if part.kind == "csv":  # without what marks a gap, which each test would look for
        columns = [
            part.cast(name, "text") if part.kind_of(name) == "text" else part.column(name)
            for name in part.columns
        ]
        part = dataclasses.replace(part, rows=f"({Rows(part.relation).select(columns)})", na=())
    tests = {(name, test): sql for name in names for test, sql in list_tests(part, name)}
    tests |= {(key, "key"): unfit_key(part, key) for key in keys}
    if part.kind == "csv":
        rows = Rows(f"(SELECT * FROM {part.relation} LIMIT {FIRST}) AS t")
        n_rows, first = count(tests, rows, on)
        if n_rows < FIRST:
            return n_rows, first
        for name, test in [*tests]:
            if test in READINGS and first[name, test] == first[name, "value"] > 0:
                tests[name, test] = tests[name, "value"]
    return count(tests, Rows(part.relation), on)


def count(tests: Mapping[tuple[str, str], str], rows: Rows, on: Engine) -> tuple[int, Counts]:
    """Count the rows, and those that meet each test."""
    filters = [f"count(*) FILTER (WHERE {sql})" for sql in tests.values()]
    n_rows, counts = aggregate(filters, rows, on)
    return n_rows, Counter(dict(zip(tests, counts, strict=True)))


def unfit_key(part: Source, name: str) -> str:
    """Return the test that a value can be no key."""
    is_key = part.kind == "csv" or KEY.fullmatch(part.type_of(name))
    return f"NOT ({part.present(name)})" if is_key else "TRUE"


def count_doubts(
    names: Sequence[str], parts: Sequence[Source], counts: Counts, on: Engine
) -> Counts:
    """Count the values that two readings read differently, where both fit all of a column."""
    found: Counts = Counter()
    for part in parts:
        tests = {}
        for name, doubt in product(names, DOUBTS):
            is_text = part.kind == "csv" and part.kind_of(name) == "text"
            if is_text and not any(counts[name, key] for key in doubt):
                one, other = (READINGS[key].sql(part.column(name)) for key in doubt)
                tests[name, "/".join(doubt)] = f"{one} <> {other}"
        found += count(tests, Rows(part.relation), on)[1]
    return found


def find_decimal(
    names: Sequence[str], parts: Sequence[Source], counts: Counts, on: Engine
) -> tuple[str | None, set[str]]:
    """Return how CSV writes fractions, if those of its columns that leave no doubt agree.

    Return also the columns that were taken for numbers with a decimal point, and where it is a
    comma are none: 1.479.
    """
    point, comma, doubt = False, False, False
    for name, (one, other) in product(names, (DOUBTS[0], PERCENT)):  # which texts alone meet
        point |= counts[name, one] == 0 < counts[name, other]
        comma |= counts[name, other] == 0 < counts[name, one]
        doubt |= counts[name, f"{one}/{other}"] > 0
    numbers = [name for name in names if parts[0].kind_of(name) == "number"]
    fractions: Counts = Counter()
    if comma or doubt:
        for part in parts:
            tests = {
                (name, test): sql for name in numbers for test, sql in _list_fractions(part, name)
            }
            fractions += count(tests, Rows(part.relation), on)[1]
    point |= any(fractions[name, "point"] for name in numbers)
    decimal = None if point == comma else "." if point else ","
    return decimal, {name for name in numbers if decimal == "," and fractions[name, "fraction"]}


def _list_fractions(part: Source, name: str) -> Iterator[tuple[str, str]]:
    """Yield tests of a number: that it is no whole one, and that its point is no thousands'."""
    x = part.cast(name, "number")
    yield "fraction", f"{x} <> floor({x})"
    # 1.001 * 1000 is a little less than 1001
    in_groups = f"abs({x}) BETWEEN 1 AND 1000 AND abs({x} * 1000 - round({x} * 1000)) < 1e-6"
    yield "point", f"{x} <> floor({x}) AND NOT ({in_groups})"


def choose_column(
    name: str, parts: Sequence[Source], counts: Counts, decimal: str | None, config: Load
) -> Column:
    """Return what a column holds, or why it can be neither an input nor the target."""
    first, is_target = parts[0], name == config.target
    if not name:
        return Column(left_out="it has no name")
    if odd := [part.type_of(name) for part in parts if not part.kind_of(name)]:
        return Column(left_out=f"its type is {odd[0]}")
    if other := [part for part in parts if part.kind_of(name) != first.kind_of(name)]:
        types = f"{first.type_of(name)}, and in {other[0].name} {other[0].type_of(name)}"
        return Column(problem=f"{first.name}: {label(name)} is {types}: the files must agree")
    if not counts[name, "value"]:
        return Column(left_out="it has no values")
    kind = "text" if name in config.categories else str(first.kind_of(name))
    if kind == "text" and first.kind == "csv" and name not in config.categories:
        return _choose_reading(name, first.name, counts, decimal, config)
    if is_target and kind != "number":
        return Column(left_out=f"its type is {first.type_of(name)}")
    return Column(kind)


def _choose_reading(
    name: str, file: str, counts: Counts, decimal: str | None, config: Load
) -> Column:
    """Return how texts of CSV are read: as all or nearly all of them can be, the target as numbers.

    What does not fit is a mistake in the file if it is little.
    """
    values, is_target = counts[name, "value"], name == config.target
    order = [key for key, reading in READINGS.items() if reading.kind == "number" or not is_target]
    order.sort(key=lambda key: decimal == "," and COMMA not in key)
    reading = min(order, key=lambda key: counts[name, key])
    kind, misfits = READINGS[reading].kind, counts[name, reading]
    if 2 * misfits > values and not is_target:
        return Column("text")
    is_doubtful = misfits > max(MISTAKES * values, min(FEW, (values - 1) // 2)) and not is_target
    for one, other in DOUBTS:
        fit_both = not counts[name, one] and not counts[name, other]
        if reading in (one, other) and fit_both and counts[name, f"{one}/{other}"]:
            if kind == "number" and decimal is None:
                doubt = f"other columns do not tell it from {other}"
                cli.say(f"{file}: {label(name)} is read as {one}: {doubt}")
            elif kind == "date" and config.dates:
                reading = DATES[config.dates]
            elif kind == "date":
                what = "dates whose day or month may come first, load.dates must say which"
                return Column(problem=f"{file}: {label(name)} has {what}")
    return Column(kind, reading, is_doubtful=is_doubtful)


def find_marker(name: str, test: str, parts: Sequence[Source], on: Engine) -> str:
    """Return the text that all values are that do not fit, if it has no digit, or is Excel's."""
    found: set[str | None] = set()
    for part in parts if test in READINGS else ():
        met = f"FILTER (WHERE {dict(list_tests(part, name))[test]})"
        ends = [f"{end}({part.text(name)}) {met}" for end in ("min", "max")]
        found |= {*aggregate(ends, Rows(part.relation), on)[1]} - {None}
    marker = str(found.pop()) if len(found) == 1 else ""
    return marker if marker.startswith("#") or not re.search(r"\d", marker) else ""


def show_mistakes(
    name: str, test: str, parts: Sequence[Source], counts: Counts, config: Load, on: Engine
) -> str:
    """Say where the first values are that meet a test, what they are, and what can be done."""
    for part in parts:
        keys = config.keys if part.kind == "sql" else ()  # a file has an order
        by = [part.value(key, "text") for key in keys] or ["row_number() OVER ()"]
        found = {**dict(list_tests(part, name)), "key": unfit_key(part, name)}[test]
        values = [f"{x} AS v{j}" for j, x in enumerate([*by, part.shown(name)])]
        rows = f"SELECT {', '.join(values)}, {found} AS bad FROM {part.relation}"
        order = f" ORDER BY {', '.join(f'v{j}' for j in range(len(keys)))}" if keys else ""
        if first := on.rows(f"SELECT * FROM ({rows}) AS t WHERE bad{order} LIMIT {SHOWN}"):
            break
    (*place, value, _), *_ = first
    where = f"the row with {source.name_key(keys, place)}" if keys else f"row {place[0]:,}"
    below = " below the header" if part.kind == "csv" else ""
    kind = READINGS[test].kind if test in READINGS else test
    total = plural(counts[name, test], "bad value") + " in all"
    if len(others := dict.fromkeys(cell(row[-2]) for row in first)) > 1:
        total += f", such as {', '.join(others)}"
    what = f"{label(name)} is {cell(value)}, must be {FIT[kind]} ({total})"
    text = f"{part.name}: {where}{below}: {what}"
    if name == config.target or kind == "key":
        return text
    advice = "leave the column out of load.features"
    if part.kind == "csv":
        advice = f"list gaps in load.na, or a column of texts in load.categories, or {advice}"
    return f"{text}; {advice}"
