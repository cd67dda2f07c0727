"""Tell what each column holds: by its type, or where it is text of CSV, by how all of it reads."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from stages.tables.conversion import convert, count, first_rows, store
from stages.tables.relation import Engine, Rows

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
DAYS = tuple(DATES.values())
# readings that one text can have both, and values that differ
DOUBTS = ((POINT, COMMA), (f"{POINT} %", f"{COMMA} %"), DAYS)
OR = " or "
MISTAKES, FEW = 0.01, 2  # share and number of values up to which those that do not fit are mistakes
SHOWN = 3  # of them


class Column(NamedTuple):
    """What a column holds."""

    kind: str = ""
    reading: str | None = None  # of text of CSV
    left_out: str = ""  # why it can be no input
    problem: str = ""  # what somebody must decide first
    marker: str = ""  # all that does not fit, if that is one text without a digit


def tell_columns(
    parts: Sequence[Source], names: Sequence[str], config: Load, scratch: Path, on: Engine
) -> tuple[Sequence[Source], list[int], dict[str, Column]]:
    """Return the parts, CSV as what it holds; their numbers of rows; and what the columns hold."""
    files, keys, texts = parts, config.keys, {*config.keys, *config.categories}
    gaps: list[tuple[str, str, int]] = []
    while True:
        if isinstance(on, DuckDB) and files[0].kind == "csv":
            parts, gaps = convert(files, [*names, *keys], texts, scratch, on)
        survey = Survey(parts, config, on)
        tests = [(name, test) for name in names for test in list_tests(name, parts)]
        sizes = survey.count([*tests, *product(keys, ["key"])])
        decimal = survey.find_decimal(names)
        doubtful = {name for name in names if decimal == "," and survey.met[name, "fraction"]}
        if not doubtful:
            break
        where = join(sorted(doubtful))
        cli.say(f"{on.name}: decimals are commas, so that 1.479 is 1479 in {where}")
        texts |= doubtful
    if told := [f"{label(name)} has {show(gap)} in {plural(n, 'row')}" for name, gap, n in gaps]:
        cli.say(f"{on.name}: gaps by load.na: {', '.join(told)}")
    found = {name: survey.choose_column(name, decimal) for name in names}
    found |= dict.fromkeys(keys, Column("text"))
    to_fit = {name: column.reading or column.kind for name, column in found.items()}
    mistakes = survey.list_mistakes(to_fit | dict.fromkeys(keys, "key"))
    readings = {name: column.reading for name, column in found.items()}
    parts = [part.read_as(readings, part.na) for part in parts]
    if isinstance(on, DuckDB) and any(readings.values()):
        kinds = {name: column.kind or "text" for name, column in found.items()}
        parts = store(parts, kinds, scratch, on)
        numbers = {name: "number" for name in names if readings[name] and kinds[name] == "number"}
        survey = Survey(parts, config, on)
        survey.count(numbers.items())
        mistakes |= survey.list_mistakes(numbers)
    found |= {name: found[name]._replace(problem=what) for name, what in mistakes.items()}
    return parts, sizes, found


def list_tests(name: str, parts: Sequence[Source]) -> Sequence[str]:
    """Return which values of a column to count."""
    kind, *others = {part.kind_of(name) for part in parts}
    if kind == "text" and parts[0].kind == "csv":
        return ["value", *READINGS]
    return [] if others else ["value", *({"number", "date"} & {kind})]


def is_met(part: Source, name: str, test: str) -> str:
    """Return the test of a value as SQL; what does not fit meets that of a kind or a reading."""
    c, x, present = part.column(name), part.cast(name, "number"), part.present(name)
    if test in READINGS:
        return f"CASE WHEN {READINGS[test].sql(c)} IS NULL THEN {present} ELSE FALSE END"
    if OR in test:
        one, other = (READINGS[key].sql(c) for key in test.split(OR))
        return f"{one} <> {other}"
    is_key = part.kind == "csv" or KEY.fullmatch(part.type_of(name))
    # 1.001 * 1000 is a little less than 1001
    in_groups = f"abs({x}) BETWEEN 1 AND 1000 AND abs({x} * 1000 - round({x} * 1000)) < 1e-6"
    return {
        "value": present,
        "number": f"NOT (abs({x}) BETWEEN {SMALLEST} AND {LARGEST} OR {x} = 0 OR isnan({x}))",
        "date": part.unreadable(name, "date"),
        "key": f"NOT ({present})" if is_key else "TRUE",
        "fraction": f"{x} <> floor({x})",
        "point": f"{x} <> floor({x}) AND NOT ({in_groups})",  # which is no thousands'
    }[test]


@dataclass(frozen=True)
class Survey:
    """Files, and how many of their values meet which tests, by column and test."""

    parts: Sequence[Source]
    config: Load
    on: Engine
    met: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, tests: Collection[tuple[str, str]]) -> list[int]:
        """Count the rows of each part, and the values of all that meet the tests of their columns.

        A reading that none of the first values of a column fits is not tried on the others.
        """
        sizes = []
        for part in self.parts:
            if part.kind == "csv":  # without what marks a gap, which each test would look for
                columns = [
                    part.cast(name, "text") if part.kind_of(name) == "text" else part.column(name)
                    for name in part.columns
                ]
                part = replace(part, rows=f"({Rows(part.relation).select(columns)})", na=())
            sql = {(name, test): is_met(part, name, test) for name, test in tests}
            if part.kind == "csv":
                _, first = count(sql, first_rows(part), self.on)
                for name, test in tests:
                    if test in READINGS and first[name, test] == first[name, "value"] > 0:
                        sql[name, test] = sql[name, "value"]
            n_rows, met = count(sql, Rows(part.relation), self.on)
            sizes.append(n_rows)
            self.met.update(met)
        return sizes

    def find_decimal(self, names: Sequence[str]) -> str | None:
        """Return how CSV writes fractions, if those of its columns that leave no doubt agree.

        Count also the values that two readings read differently, where both fit all of a column,
        and if commas may be decimal, the numbers that were taken for some with a decimal point.
        """
        met = self.met
        pairs = [*product((name for name in names if (name, POINT) in met), DOUBTS)]
        both = [(name, pair) for name, pair in pairs if not any(met[name, key] for key in pair)]
        self.count([(name, OR.join(pair)) for name, pair in both])
        forms = [(name, *pair) for name, pair in pairs if pair != DAYS]
        point = any(met[name, one] == 0 < met[name, other] for name, one, other in forms)
        comma = any(met[name, other] == 0 < met[name, one] for name, one, other in forms)
        if comma or any(met[name, one + OR + other] for name, one, other in forms):
            numbers = [name for name in names if (name, "number") in met]
            self.count([*product(numbers, ("fraction", "point"))])
        point = point or any(met[name, "point"] for name in names)
        return None if point == comma else "." if point else ","

    def choose_column(self, name: str, decimal: str | None) -> Column:
        """Return what a column holds, or why it can be neither an input nor the target."""
        first = self.parts[0]
        if not name:
            return Column(left_out="it has no name")
        if odd := [part.type_of(name) for part in self.parts if not part.kind_of(name)]:
            return Column(left_out=f"its type is {odd[0]}")
        if other := [part for part in self.parts if part.kind_of(name) != first.kind_of(name)]:
            types = f"{first.type_of(name)}, and in {other[0].name} {other[0].type_of(name)}"
            return Column(problem=f"{first.name}: {label(name)} is {types}: the files must agree")
        if not self.met[name, "value"]:
            return Column(left_out="it has no values")
        if name in self.config.categories:
            return Column("text")
        if (name, POINT) in self.met:
            return self._choose_reading(name, decimal)
        if name == self.config.target and first.kind_of(name) != "number":
            return Column(left_out=f"its type is {first.type_of(name)}")
        return Column(str(first.kind_of(name)))

    def _choose_reading(self, name: str, decimal: str | None) -> Column:
        """Return how texts of CSV are read: as nearly all of them can be, the target as numbers.

        What does not fit is a mistake in the file if it is little, or one text that marks a gap.
        """
        values, is_target = self.met[name, "value"], name == self.config.target
        order = [key for key, each in READINGS.items() if each.kind == "number" or not is_target]
        order.sort(key=lambda key: decimal == "," and COMMA not in key)
        reading = min(order, key=lambda key: self.met[name, key])
        kind, misfits = READINGS[reading].kind, self.met[name, reading]
        if 2 * misfits > values and not is_target:
            return Column("text")
        marker = self.find_marker(name, reading) if misfits > FEW else ""
        allowed = max(MISTAKES * values, min(FEW, (values - 1) // 2))
        if misfits > allowed and not is_target and not marker:
            few = f"{misfits:,} of {values:,} values are no {kind}s"
            cli.say(f"{self.on.name}: {label(name)} is taken for text: {few}")
            return Column("text")
        for one, other in DOUBTS:
            if reading in (one, other) and self.met[name, one + OR + other]:
                what = f"{self.parts[0].name}: {label(name)}"
                if kind == "number" and decimal is None:
                    cli.say(f"{what} is read as {one}: other columns do not tell it from {other}")
                elif kind == "date" and self.config.dates:
                    reading = DATES[self.config.dates]
                elif kind == "date":
                    doubt = "dates whose day or month may come first, load.dates must say which"
                    return Column(problem=f"{what} has {doubt}")
        return Column(kind, reading, marker=marker)

    def find_marker(self, name: str, reading: str) -> str:
        """Return the text that all misfits are, if it has no digit, or is Excel's."""
        found = set()
        for part in self.parts:
            misfits = Rows(part.relation, is_met(part, name, reading))
            found |= {*self.on.rows(misfits.select([f"DISTINCT {part.text(name)}"]) + " LIMIT 2")}
        marker = str(*found.pop()) if len(found) == 1 else ""
        return marker if marker.startswith("#") or not re.search(r"\d", marker) else ""

    def list_mistakes(self, tests: Mapping[str, str]) -> dict[str, str]:
        """Return what is wrong with columns that have values which meet their test."""
        wrong = [name for name, test in tests.items() if self.met[name, test]]
        return {name: self.show_mistakes(name, tests[name]) for name in wrong}

    def show_mistakes(self, name: str, test: str) -> str:
        """Say where the first values are that meet a test, what they are, and what can be done."""
        for part in self.parts:
            keys = self.config.keys if part.kind == "sql" else ()  # a file has an order
            by = [part.value(key, "text") for key in keys] or ["row_number() OVER ()"]
            values = [f"{x} AS v{j}" for j, x in enumerate([*by, part.shown(name)])]
            rows = Rows(part.relation).select([*values, f"{is_met(part, name, test)} AS bad"])
            order = f" ORDER BY {', '.join(f'v{j}' for j in range(len(keys)))}" if keys else ""
            if first := self.on.rows(f"SELECT * FROM ({rows}) AS t WHERE bad{order} LIMIT {SHOWN}"):
                break
        (*place, value, _), *_ = first
        where = f"the row with {source.name_key(keys, place)}" if keys else f"row {place[0]:,}"
        below = " below the header" if part.kind == "csv" else ""
        kind = READINGS[test].kind if test in READINGS else test
        total = plural(self.met[name, test], "bad value") + " in all"
        if len(others := dict.fromkeys(cell(row[-2]) for row in first)) > 1:
            total += f", such as {', '.join(others)}"
        what = f"{label(name)} is {cell(value)}, must be {FIT[kind]} ({total})"
        text = f"{part.name}: {where}{below}: {what}"
        if name == self.config.target or kind == "key":
            return text
        advice = "leave the column out of load.features"
        if part.kind == "csv":
            advice = f"list gaps in load.na, or a column of texts in load.categories, or {advice}"
        return f"{text}; {advice}"
