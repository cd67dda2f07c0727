"""Predict a table by DuckDB: one pass checks and counts its rows, another one writes them.

In the SQL here the columns of the table are c0, c1, …; those that the model reads are r0, r1, … as
numbers, booleans, moments and texts, the features x0, x1, …, and the prediction is p. A row is good
if p is finite: a gap or a value that is not of its kind makes it NULL, unless gaps have a filling.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stages.columns.engine import execute
from stages.columns.inputs import MUST_BE
from stages.columns.source import REJECTS, Source, first_bad
from stages.columns.sql import double, identifier, literal
from stages.predictor.document import Predictor
from stages.predictor.expression import expression
from stages.project.cli import InputError, plural
from stages.project.text import named

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Request:
    """A table to predict, and the model for it."""

    source: Source
    model: Predictor
    connection: "DuckDBPyConnection"
    skip: bool = False  # bad rows
    only: bool = False  # write the predictions alone

    @property
    def kinds(self) -> Mapping[str, str]:
        """The columns that the model reads, and what they hold."""
        return self.model.schema.kinds

    def rows(self) -> str:
        """Return a query for all rows, good or not."""
        read = {name: f"r{index}" for index, name in enumerate(self.kinds)}
        casts = [f"{self.source.value(name, self.kinds[name])} AS {r}" for name, r in read.items()]
        inputs = [each.sql(read[each.column]) for each in self.model.schema.inputs]
        names = [f"x{index}" for index in range(len(inputs))]
        p = expression(self.model, names)
        if self.model.missing == "mean":  # else what cannot be read would count as a gap
            p = f"CASE WHEN NOT ({self.unreadable}) THEN {p} END"
        features = ", ".join(map("{} AS {}".format, inputs, names))
        return (
            f"SELECT *, {p} AS p FROM (SELECT *, {features} FROM"
            f" (SELECT *, {', '.join(casts)} FROM {self.source.relation(self.skip)}))"
        )

    @property
    def unreadable(self) -> str:
        """The test that a value of a row is not of its kind."""
        return " OR ".join(self.source.unreadable(name, kind) for name, kind in self.kinds.items())

    @property
    def dropped(self) -> str:
        """The test that a row is left out for a gap, as training did."""
        if self.model.missing != "drop":
            return "FALSE"
        empty = " OR ".join(f"r{index} IS NULL" for index in range(len(self.kinds)))
        return f"({empty}) AND NOT ({self.unreadable})"

    def ranges(self) -> Iterator[tuple[str, str]]:
        """Yield for each column what training has seen of it, for people and as a test in SQL."""
        for index, (name, kind) in enumerate(self.kinds.items()):
            if kind == "text":
                known = ", ".join(map(literal, self.model.levels[name]))
                seen = f"{named(name)}, in levels that training has not seen"
                yield seen, f"(r{index} IS NULL OR r{index} IN ({known}))"
        for index, each in enumerate(self.model.features):
            if each.kind != "text" and not each.missing:
                limits = f"{double(each.min)} AND {double(each.max)}"
                low, high = map(each.shown, (each.min, each.max))
                yield f"{named(each.column)}, {low} to {high}", f"x{index} BETWEEN {limits}"

    def tally(self) -> list[str]:
        """Count the rows, and return remarks; an `InputError` tells of the first bad one."""
        name = self.source.name
        seen = dict(self.ranges()) or {"": "TRUE"}
        tests = (" AND ".join(seen.values()), *seen.values())
        others = (f"isfinite(p) AND NOT ({test})" for test in tests)
        counts = [f"count(*) FILTER ({test})" for test in ("isfinite(p)", self.dropped, *others)]
        if not self.only:  # read what is passed through, too: it may be damaged
            counts += [f"count(c{index})" for index in range(len(self.source.columns))]
        [(total, good, gaps, outside, *each)] = execute(
            self.connection, f"SELECT count(*), {', '.join(counts)} FROM ({self.rows()})"
        )
        malformed, complete = self.malformed()
        bad = total - good - gaps
        if bad and not self.skip:
            raise InputError(f"{name}: {self.find_bad()} ({plural(bad, 'bad row')} in all)")
        if not good:
            dropped = total + malformed
            how = "bad or have a gap" if gaps else "bad"
            what = f"all {dropped:,} rows are {how}" if dropped else "there are no rows"
            raise InputError(f"{name}: {what}")
        remarks = []
        if dropped := bad + malformed:
            count = plural(dropped, "bad row")
            count = count if complete else count.replace(" ", " or more ", 1)
            remarks.append(f"dropped {count}, kept {good:,}")
        if gaps:
            remarks.append(f"left out {plural(gaps, 'row')} with a gap, as training did")
        if outside:
            _, most = max(zip(each, seen, strict=False), key=lambda pair: int(pair[0]))
            rows = f"{outside:,} of {good:,} rows outside the training range"
            remarks.append(f"{rows}, most often in {most}")
        return remarks

    def malformed(self) -> tuple[int, bool]:
        """Return how many lines of CSV were no rows, and whether these are all."""
        if not self.skip or self.source.kind != "csv":
            return 0, True
        [(lines, errors, quote)] = execute(
            self.connection,
            "SELECT count(DISTINCT line), count(*),"
            " min(line) FILTER (error_type = 'UNQUOTED VALUE') FROM reject_errors",
        )
        if quote is not None:
            raise InputError(
                f"{self.source.name}: line {quote:,} has a quote that does not end: the rows"
                " behind it cannot be told"
            )
        return lines, errors < REJECTS

    def find_bad(self) -> str:
        """Say where the first bad row is, and what is wrong with it."""
        tests = {}
        for index, (name, kind) in enumerate(self.kinds.items()):
            is_gap, unreadable = f"r{index} IS NULL", self.source.unreadable(name, kind)
            test = is_gap if self.model.missing == "fail" else unreadable
            tests[name] = f"{test} OR NOT isfinite(r{index})" if kind == "number" else test
        bad = f"NOT coalesce(isfinite(p), FALSE) AND NOT ({self.dropped})"
        place, wrong = first_bad(
            self.source, f"({self.rows()})", bad, tests, partial(execute, self.connection)
        )
        if wrong is None:
            return f"{place}: the prediction is too large for a number"
        return f"{place}, must be {MUST_BE[self.kinds[wrong]]}"

    def output(self, form: str) -> tuple[str, str]:
        """Return what to select, and how DuckDB writes it: as 'csv', 'parquet' or 'json'.

        CSV to CSV copies text as it is. Parquet and JSON lines get the features of CSV as numbers.
        """
        names = () if self.only else self.source.columns
        columns = {name: f"c{index}" for index, name in enumerate(names)}
        if "prediction" in columns:
            what = f"{self.source.name} has a column prediction"
            raise InputError(f"{what}: rename it, or use --only")
        if form != "csv" and self.source.kind != "parquet":
            for index, (name, kind) in enumerate(self.kinds.items()):
                if kind == "number" and name in columns:
                    columns[name] = f"r{index}"
        columns["prediction"] = "p"
        if form == "csv":  # under our own header: DuckDB renames what differs in case alone
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(columns)
            prefix = f"PREFIX {literal(header.getvalue())}, SUFFIX '\n'"
            return ", ".join(columns.values()), f"FORMAT csv, HEADER false, {prefix}"
        if "" in columns or len({name.lower() for name in columns}) < len(columns):
            raise InputError(
                f"{self.source.name}: columns without a name, or with names that differ in case"
                " alone, go to CSV only; write that, or use --only"
            )
        outputs = (f"{value} AS {identifier(name)}" for name, value in columns.items())
        return ", ".join(outputs), f"FORMAT {form}"

    def write(self, path: Path, form: str) -> list[str]:
        """Check all rows, then write the good ones to `path`, and return remarks on others."""
        outputs, options = self.output(form)
        remarks = self.tally()
        execute(
            self.connection,
            f"COPY (SELECT {outputs} FROM ({self.rows()}) WHERE isfinite(p))"
            f" TO {literal(str(path))} ({options}, USE_TMP_FILE false)",
        )
        return remarks
