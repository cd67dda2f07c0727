"""Predict a table by DuckDB: one pass checks and counts its rows, another one writes them.

In the SQL here the columns of the table are c0, c1, …; those that the model reads are r0, r1, … as
numbers, booleans, moments and texts, the features x0, x1, …, and the prediction is p. A row is good
if p is finite: a gap or a value that is not of its kind makes it NULL, unless gaps have a filling.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.predictor.document import Predictor
from stages.predictor.expression import expression
from stages.project.cli import InputError, plural
from stages.project.text import named
from stages.tables import engine, sql
from stages.tables.source import MUST_BE, REJECTS, Source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Tally:
    """What there is in a table.

    Attributes
    ----------
    good, bad, malformed : int
        Rows predicted, rows with a value that cannot be used, and lines that are no rows.
    gaps : int
        Rows left out for a gap, as training did.
    complete : bool
        Whether all malformed lines were counted.
    outside : int
        Good rows outside the training range, or of a level that training has not seen.
    most_outside : str
        The column that is outside most often, and its range.
    """

    good: int
    bad: int
    malformed: int
    gaps: int
    complete: bool
    outside: int
    most_outside: str


@dataclass(frozen=True)
class Request:
    """A table to predict and the model for it; whether to skip bad rows, and to write p alone."""

    source: Source
    model: Predictor
    skip: bool
    only: bool
    connection: "DuckDBPyConnection"

    @property
    def kinds(self) -> Mapping[str, str]:
        """The columns that the model reads, and what they hold."""
        return self.model.schema.kinds

    def rows(self, also: str = "") -> str:
        """Return a query for all rows, good or not."""
        raw = {name: f"r{index}" for index, name in enumerate(self.kinds)}
        casts = [f"{self.source.value(name, self.kinds[name])} AS {r}" for name, r in raw.items()]
        inputs = [
            f"{each.sql(raw[each.column])} AS x{index}"
            for index, each in enumerate(self.model.schema.inputs)
        ]
        p = expression(self.model, [f"x{index}" for index in range(len(inputs))])
        if self.model.missing == "mean":  # else what cannot be read would count as a gap
            p = f"CASE WHEN NOT ({self.unreadable}) THEN {p} END"
        return (
            f"SELECT *, {p} AS p FROM (SELECT *, {', '.join(inputs)} FROM"
            f" (SELECT *, {', '.join(casts)}{also} FROM {self.source.relation(self.skip)}))"
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
                levels = self.model.levels[name]
                known = ", ".join(map(sql.literal, levels))
                seen = f"{named(name)}, in levels that training has not seen"
                yield seen, f"r{index} IS NULL OR r{index} IN ({known})"
        for index, feature in enumerate(self.model.features):
            each = feature.input
            if each.kind != "text" and not each.missing:
                low, high = map(each.shown, (feature.min, feature.max))
                limits = f"{sql.double(feature.min)} AND {sql.double(feature.max)}"
                yield f"{named(each.column)}, {low} to {high}", f"x{index} BETWEEN {limits}"

    def tally(self) -> Tally:
        """Count the rows.

        Raises
        ------
        InputError
            There is no good row, or a bad one and these are not to be skipped.
        """
        seen = dict(self.ranges()) or {"": "TRUE"}
        tests = [f"({test})" for test in seen.values()]
        counts = [f"isfinite(p) AND NOT ({test})" for test in (" AND ".join(tests), *tests)]
        filters = [f"count(*) FILTER ({test})" for test in ("isfinite(p)", self.dropped, *counts)]
        if not self.only:  # read what is passed through, too: it may be damaged
            filters += [f"count(c{index})" for index in range(len(self.source.columns))]
        [(total, good, gaps, outside, *each)] = engine.attended(
            self.connection, f"SELECT count(*), {', '.join(filters)} FROM ({self.rows()})"
        )
        malformed, complete = 0, True
        if self.skip and self.source.kind == "csv":
            [(malformed, errors, quote)] = self.connection.execute(
                "SELECT count(DISTINCT line), count(*),"
                " min(line) FILTER (error_type = 'UNQUOTED VALUE') FROM reject_errors"
            ).fetchall()
            complete = errors < REJECTS
            if quote is not None:
                raise InputError(
                    f"{self.source.name}: line {quote:,} has a quote that does not end: the rows"
                    " behind it cannot be told"
                )
        _, most = max(zip(each, seen, strict=False), key=lambda pair: int(pair[0]))
        found = Tally(good, total - good - gaps, malformed, gaps, complete, outside, most)
        if found.bad and not self.skip:
            bad = plural(found.bad, "bad row")
            raise InputError(f"{self.source.name}: {self.first_bad()} ({bad} in all)")
        if not good:
            dropped = found.bad + malformed + gaps
            bad = "bad or have a gap" if gaps else "bad"
            what = f"all {dropped:,} rows are {bad}" if dropped else "there are no rows"
            raise InputError(f"{self.source.name}: {what}")
        return found

    def first_bad(self) -> str:
        """Say where the first bad row is, and what is wrong with it."""
        tests = [
            f"{self.source.unreadable(name, kind)} OR NOT coalesce(isfinite(r{index}), TRUE)"
            if kind == "number"
            else self.source.unreadable(name, kind)
            for index, (name, kind) in enumerate(self.kinds.items())
        ]
        cells = [self.source.column(name)[0] for name in self.kinds]
        empty = [f"r{index} IS NULL" for index in range(len(cells))]
        numbered = self.rows(", row_number() OVER () AS n")
        bad = f"NOT coalesce(isfinite(p), FALSE) AND NOT ({self.dropped})"
        [(row, *values)] = engine.attended(
            self.connection,
            f"SELECT n, {', '.join([*cells, *tests, *empty])} FROM ({numbered})"
            f" WHERE {bad} LIMIT 1",
        )
        n = len(cells)
        triples = zip(self.kinds.items(), values, values[n:], values[2 * n :], strict=False)
        what = "the prediction is too large for a number"
        for (name, kind), cell, is_wrong, is_empty in triples:
            if is_wrong or (is_empty and self.model.missing == "fail"):
                what = f"{named(name)} is {engine.cell(cell)}, must be {MUST_BE[kind]}"
                break
        return f"{engine.located(row, self.source.kind)}: {what}"

    def copy(self, outputs: str, target: str, options: str, tally: Tally) -> None:
        """Write `outputs` of the good rows to `target`.

        Raises
        ------
        InputError
            The rows are no longer those that were counted.
        """
        [(written,)] = engine.attended(
            self.connection,
            f"COPY (SELECT {outputs} FROM ({self.rows()}) WHERE isfinite(p))"
            f" TO {sql.literal(target)} ({options})",
        )
        if written != tally.good:
            raise InputError(f"{self.source.name} changed while it was read")
