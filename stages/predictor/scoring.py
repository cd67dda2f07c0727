"""Predict a table by DuckDB: one pass checks and counts its rows, another one writes them.

In the SQL here the columns of the table are c0, c1, …; those that the model reads are r0, r1, … as
numbers, booleans, moments and texts, the features x0, x1, …, and the prediction is p. A row is good
if p is finite: a gap or a value that is not of its kind makes it NULL, unless gaps have a filling.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.columns.engine import DuckDB
from stages.columns.inputs import MUST_BE
from stages.columns.source import REJECTS, Source, first_bad
from stages.columns.sql import double, identifier, literal
from stages.predictor.document import Predictor
from stages.predictor.expression import expression
from stages.project.cli import InputError, plural
from stages.project.text import label


@dataclass(frozen=True)
class Request:
    """A table to predict, and the model for it."""

    source: Source
    model: Predictor
    on: DuckDB
    skip: bool = False  # bad rows
    only: bool = False  # write the predictions alone

    def rows(self) -> str:
        """Return a query for all rows; `gap` are those left out for a gap, as training did."""
        schema, source, missing = self.model.schema, self.source, self.model.missing
        read = {name: f"r{index}" for index, name in enumerate(schema.kinds)}
        casts = [f"{source.value(name, schema.kinds[name])} AS {r}" for name, r in read.items()]
        inputs = [
            f"{each.sql(read[each.column])} AS x{index}" for index, each in enumerate(schema.inputs)
        ]
        unreadable = " OR ".join(source.unreadable(*column) for column in schema.kinds.items())
        gap = " OR ".join(f"{r} IS NULL" for r in read.values()) if missing == "drop" else "FALSE"
        p = expression(self.model, [f"x{index}" for index in range(len(inputs))])
        if missing == "mean":  # else what cannot be read would count as a gap
            p = f"CASE WHEN NOT unreadable THEN {p} END"
        return (
            f"SELECT *, {p} AS p, ({gap}) AND NOT unreadable AS gap"
            f" FROM (SELECT *, {', '.join(inputs)}"
            f" FROM (SELECT *, {', '.join(casts)}, {unreadable} AS unreadable"
            f" FROM {source.relation}))"
        )

    def ranges(self) -> Iterator[tuple[str, str]]:
        """Yield for each column what training has seen of it, for people and as a test in SQL."""
        for index, (name, kind) in enumerate(self.model.schema.kinds.items()):
            if kind == "text":
                known = ", ".join(map(literal, self.model.levels[name]))
                seen = f"{label(name)}, in levels that training has not seen"
                yield seen, f"(r{index} IS NULL OR r{index} IN ({known}))"
        for index, each in enumerate(self.model.features):
            if each.kind != "text" and not each.missing:
                limits = f"{double(each.min)} AND {double(each.max)}"
                low, high = map(each.show, (each.min, each.max))
                yield f"{label(each.column)}, {low} to {high}", f"x{index} BETWEEN {limits}"

    def check(self) -> tuple[int, list[str]]:
        """Return how many rows are bad, if that is allowed, and remarks on others."""
        name, seen = self.source.name, [*self.ranges()]
        tests = [test for _, test in seen]
        known = " AND ".join(["TRUE", *tests])
        unlike = [f"isfinite(p) AND NOT ({test})" for test in (known, *tests)]
        counts = [f"count(*) FILTER ({test})" for test in ("isfinite(p)", "gap", *unlike)]
        query = f"SELECT count(*), {', '.join(counts)} FROM ({self.rows()})"
        [(total, good, gaps, outside, *each)] = self.on.rows(query)
        bad = total - good - gaps
        if bad and not self.skip:
            raise InputError(f"{name}: {self.find_bad()} ({plural(bad, 'bad row')} in all)")
        if not good:
            what = f"all rows are bad, {bad:,}" if bad else "there are no rows to predict"
            raise InputError(f"{name}: {what}")
        remarks = []
        if gaps:
            remarks.append(f"left out {plural(gaps, 'row')} with a gap, as training did")
        if outside:
            _, (most, _) = max(zip(each, seen, strict=True), key=lambda pair: int(pair[0]))
            rows = f"{outside:,} of {good:,} rows outside the training range"
            remarks.append(f"{rows}, most often in {most}")
        return bad, remarks

    def find_bad(self) -> str:
        """Say where the first bad row is, and what is wrong with it."""
        tests, kinds = {}, self.model.schema.kinds
        for index, (name, kind) in enumerate(kinds.items()):
            is_gap, unreadable = f"r{index} IS NULL", self.source.unreadable(name, kind)
            test = is_gap if self.model.missing == "fail" else unreadable
            tests[name] = f"{test} OR NOT isfinite(r{index})" if kind == "number" else test
        bad = "NOT coalesce(isfinite(p), FALSE) AND NOT gap"
        place, wrong = first_bad(self.source, f"({self.rows()})", bad, tests, self.on.rows)
        if wrong is None:
            return f"{place}: the prediction is too large for a number"
        return f"{place}, must be {MUST_BE[kinds[wrong]]}"

    def outputs(self, form: str) -> tuple[str, str]:
        """Return what to select, and how DuckDB writes it, as csv or parquet.

        CSV to CSV copies text as it is. Parquet gets the features of CSV as numbers.
        """
        names = () if self.only else self.source.columns
        columns = {name: f"c{index}" for index, name in enumerate(names)}
        if "prediction" in columns:
            raise InputError(f"{self.source.name} has a column prediction already; use --only")
        if form == "parquet" and self.source.kind == "csv":
            for index, (name, kind) in enumerate(self.model.schema.kinds.items()):
                if kind == "number" and name in columns:
                    columns[name] = f"r{index}"
        columns["prediction"] = "p"
        if form == "csv":  # under our own header: DuckDB renames what differs in case alone
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(columns)
            prefix = f"PREFIX {literal(header.getvalue())}, SUFFIX '\n'"
            return ", ".join(columns.values()), f"csv, HEADER false, {prefix}"
        if "" in columns or len({name.lower() for name in columns}) < len(columns):
            what = "columns without a name, or with names that differ in case alone"
            raise InputError(f"{self.source.name}: {what}, go to CSV only; or use --only")
        aliases = (f"{value} AS {identifier(name)}" for name, value in columns.items())
        return ", ".join(aliases), "parquet"

    def write(self, path: Path, form: str) -> list[str]:
        """Check all rows, write the good ones to `path` as csv or parquet, and return remarks."""
        outputs, options = self.outputs(form)
        bad, remarks = self.check()
        good = f"SELECT {outputs} FROM ({self.rows()}) WHERE isfinite(p)"
        options = f"USE_TMP_FILE false, FORMAT {options}"
        [(kept,)] = self.on.rows(f"COPY ({good}) TO {literal(str(path))} ({options})")
        how_many = ""
        if self.skip and self.source.kind == "csv":
            first = "min(line) FILTER (error_type = 'UNQUOTED VALUE')"
            query = (
                f"SELECT count(DISTINCT line), count(*), {first} FROM reject_errors"
                " WHERE scan_id = (SELECT max(scan_id) FROM reject_errors)"  # of two passes
            )
            [(lines, errors, quote)] = self.on.rows(query)
            if quote is not None:
                what = f"line {quote:,} has a quote that does not end"
                raise InputError(f"{self.source.name}: {what}: the rows behind it cannot be told")
            bad += lines
            how_many = "at least " if errors >= REJECTS else ""
        if bad:
            remarks.insert(0, f"dropped {how_many}{plural(bad, 'bad row')}, kept {kept:,}")
        return remarks
