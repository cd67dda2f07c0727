"""Predict a table by DuckDB: one pass checks and counts its rows, another one writes them.

In the SQL here the columns of the table are c0, c1, …; those that the model reads are r0, r1, … as
numbers, booleans, moments and texts, the features x0, x1, …, and the prediction is p. A row is good
if p is finite: a gap or a value that is not of its kind makes it NULL, unless gaps have a filling.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.columns import engine, sql
from stages.columns.inputs import MUST_BE
from stages.columns.source import REJECTS, Source
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
    skip: bool  # bad rows
    only: bool  # write the predictions alone
    connection: "DuckDBPyConnection"

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
                known = ", ".join(map(sql.literal, self.model.levels[name]))
                seen = f"{named(name)}, in levels that training has not seen"
                yield seen, f"(r{index} IS NULL OR r{index} IN ({known}))"
        for index, feature in enumerate(self.model.features):
            each = feature
            if each.kind != "text" and not each.missing:
                limits = f"{sql.double(feature.min)} AND {sql.double(feature.max)}"
                low, high = map(each.shown, (feature.min, feature.max))
                yield f"{named(each.column)}, {low} to {high}", f"x{index} BETWEEN {limits}"

    def tally(self) -> tuple[int, list[str]]:
        """Count the good rows, and remark on others; an `InputError` tells of the first bad one."""
        name = self.source.name
        seen = dict(self.ranges()) or {"": "TRUE"}
        tests = (" AND ".join(seen.values()), *seen.values())
        others = (f"isfinite(p) AND NOT ({test})" for test in tests)
        counts = [f"count(*) FILTER ({test})" for test in ("isfinite(p)", self.dropped, *others)]
        if not self.only:  # read what is passed through, too: it may be damaged
            counts += [f"count(c{index})" for index in range(len(self.source.columns))]
        [(total, good, gaps, outside, *each)] = engine.attended(
            self.connection, f"SELECT count(*), {', '.join(counts)} FROM ({self.rows()})"
        )
        malformed, complete = self.malformed()
        bad = total - good - gaps
        if bad and not self.skip:
            raise InputError(f"{name}: {self.first_bad()} ({plural(bad, 'bad row')} in all)")
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
        return good, remarks

    def malformed(self) -> tuple[int, bool]:
        """Return how many lines of CSV were no rows, and whether these are all."""
        if not self.skip or self.source.kind != "csv":
            return 0, True
        [(lines, errors, quote)] = self.connection.execute(
            "SELECT count(DISTINCT line), count(*),"
            " min(line) FILTER (error_type = 'UNQUOTED VALUE') FROM reject_errors"
        ).fetchall()
        if quote is not None:
            raise InputError(
                f"{self.source.name}: line {quote:,} has a quote that does not end: the rows"
                " behind it cannot be told"
            )
        return lines, errors < REJECTS

    def first_bad(self) -> str:
        """Say where the first bad row is, and what is wrong with it."""
        tests = {}
        for index, (name, kind) in enumerate(self.kinds.items()):
            is_gap, unreadable = f"r{index} IS NULL", self.source.unreadable(name, kind)
            test = is_gap if self.model.missing == "fail" else unreadable
            tests[name] = f"{test} OR NOT isfinite(r{index})" if kind == "number" else test
        bad = f"NOT coalesce(isfinite(p), FALSE) AND NOT ({self.dropped})"
        rows = f"({self.rows()})"
        place, wrong = self.source.first_bad(rows, bad, tests, self.connection)
        if wrong is None:
            return f"{place}: the prediction is too large for a number"
        return f"{place}, must be {MUST_BE[self.kinds[wrong]]}"

    def copy(self, outputs: str, target: str, options: str, good: int) -> None:
        """Write `outputs` of the good rows to `target`; there must be as many as were counted."""
        [(written,)] = engine.attended(
            self.connection,
            f"COPY (SELECT {outputs} FROM ({self.rows()}) WHERE isfinite(p))"
            f" TO {sql.literal(target)} ({options})",
        )
        if written != good:
            raise InputError(f"{self.source.name} changed while it was read")
