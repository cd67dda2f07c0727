"""Predict a table by DuckDB: one pass checks and counts its rows, another one writes them.

In the SQL here the columns of the table are c0, c1, …, the features as numbers x0, x1, … in the
order of the model, and the prediction is p. A row is good if p is finite: a feature that is
NULL, infinite or not a number makes p so.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.predictor.document import Feature, Predictor
from stages.predictor.expression import expression
from stages.project.cli import InputError, plural
from stages.project.text import named
from stages.tables import engine, sql
from stages.tables.source import REJECTS, Source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Tally:
    """What there is in a table.

    Attributes
    ----------
    good, bad, malformed : int
        Rows predicted, rows with a feature that is no number, and lines that are no rows.
    complete : bool
        Whether all malformed lines were counted.
    outside : int
        Good rows outside the training range.
    most_outside : Feature
        The feature that is outside most often.
    """

    good: int
    bad: int
    malformed: int
    complete: bool
    outside: int
    most_outside: Feature


@dataclass(frozen=True)
class Request:
    """A table to predict and the model for it; whether to skip bad rows, and to write p alone."""

    source: Source
    model: Predictor
    skip: bool
    only: bool
    connection: "DuckDBPyConnection"

    def rows(self, also: str = "") -> str:
        """Return a query for all rows, good or not."""
        positions = [self.source.columns.index(feature.name) for feature in self.model.features]
        xs = [f"x{index}" for index in range(len(positions))]
        casts = ", ".join(
            f"{sql.number(f'c{position}', self.source.types[position])} AS {x}"
            for x, position in zip(xs, positions, strict=True)
        )
        return (
            f"SELECT *, {expression(self.model, xs)} AS p FROM"
            f" (SELECT *, {casts}{also} FROM {self.source.relation(self.skip)})"
        )

    def tally(self) -> Tally:
        """Count the rows.

        Raises
        ------
        InputError
            There is no good row, or a bad one and these are not to be skipped.
        """
        inside = [
            f"x{index} BETWEEN {sql.double(feature.min)} AND {sql.double(feature.max)}"
            for index, feature in enumerate(self.model.features)
        ]
        counts = [f"isfinite(p) AND NOT ({test})" for test in (" AND ".join(inside), *inside)]
        filters = [f"count(*) FILTER ({test})" for test in ("isfinite(p)", *counts)]
        if not self.only:  # read what is passed through, too: it may be damaged
            filters += [f"count(c{index})" for index in range(len(self.source.columns))]
        [(total, good, outside, *each)] = engine.attended(
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
        most = max(zip(each, self.model.features, strict=False), key=lambda pair: int(pair[0]))[1]
        found = Tally(good, total - good, malformed, complete, outside, most)
        if found.bad and not self.skip:
            bad = plural(found.bad, "bad row")
            raise InputError(f"{self.source.name}: {self.first_bad()} ({bad} in all)")
        if not good:
            dropped = found.bad + malformed
            what = f"all {dropped:,} rows are bad" if dropped else "there are no rows"
            raise InputError(f"{self.source.name}: {what}")
        return found

    def first_bad(self) -> str:
        """Say where the first bad row is, and what is wrong with it."""
        features = self.model.features
        xs = ", ".join(f"x{index}" for index in range(len(features)))
        cs = ", ".join(f"c{self.source.columns.index(feature.name)}" for feature in features)
        numbered = self.rows(", row_number() OVER () AS n")
        bad = "NOT coalesce(isfinite(p), false)"
        [(row, *values)] = engine.attended(
            self.connection,
            f"SELECT n, {xs}, {cs} FROM ({numbered}) WHERE {bad} LIMIT 1",
        )
        what = "the prediction is too large for a number"
        for feature, x, c in zip(features, values, values[len(features) :], strict=False):
            if x is None or not math.isfinite(x):
                what = f"{named(feature.name)} is {engine.cell(c)}, must be a finite number"
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
