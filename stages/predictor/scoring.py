"""Predict a table by DuckDB: one pass checks its rows, counts them and writes the good ones.

In the SQL here the columns of the table are c0, c1, …; those that the model reads are r0, r1, … as
numbers, booleans, moments and texts, the features x0, x1, …, and the prediction is p. A row is good
if p is finite: a gap or a value that is not of its kind makes it NULL, unless gaps have a filling.
A bad row ends the pass, and only then other queries look for the first one and count them all.
"""

import csv
import io
from collections.abc import Iterator, Sequence
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
    half_width: float | None = None  # of the intervals to write

    def rows(self) -> str:
        """Return a query for all rows; `gap` are those left out for a gap, as training did."""
        schema, source, missing = self.model.schema, self.source, self.model.missing
        read = {name: f"r{index}" for index, name in enumerate(schema.kinds)}
        casts = [f"{source.value(name, schema.kinds[name])} AS {r}" for name, r in read.items()]
        made = (each.sql(read.__getitem__) for each in schema.inputs)
        inputs = [f"{x} AS x{index}" for index, x in enumerate(made)]
        null = " OR ".join(f"{r} IS NULL" for r in read.values())
        gap = "p IS NULL" if missing == "drop" else "FALSE"
        unreadable = " OR ".join(source.unreadable(*column) for column in schema.kinds.items())
        unreadable = f"CASE WHEN {null} THEN {unreadable} ELSE FALSE END"  # it casts again
        p = expression(self.model, [f"x{index}" for index in range(len(inputs))])
        if missing == "mean":  # else what cannot be read would count as a gap
            p = f"CASE WHEN NOT unreadable THEN {p} END"
        return (
            f"SELECT *, {p} AS p, ({gap}) AND NOT unreadable AS gap"
            f" FROM (SELECT *, {', '.join(inputs)}, {unreadable} AS unreadable"
            f" FROM (SELECT *, {', '.join(casts)} FROM {source.relation}))"
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

    def keep(self, tests: Sequence[str]) -> str:
        """Return the test that a row is good, which counts rows by the way; a bad one is an error.

        It belongs in WHERE: where nextval stands behind SELECT, DuckDB uses one thread.
        Sequences count, as threads share them, and CASE takes a number in the rows to count alone:
        s0 those with a gap, s1 bad rows, s2 good ones outside a range, s3, … each test not met.
        """
        gap, bad, outside, *each = (f"nextval('s{index}') > 0" for index in range(3 + len(tests)))
        pairs = zip(tests, each, strict=True)
        ranges = (f"CASE WHEN {test} THEN TRUE ELSE {count} END" for test, count in pairs)
        bad = f"NOT {bad}" if self.skip else "error('there is a bad row')"
        return (
            f"CASE WHEN {' AND '.join(['isfinite(p)', *tests])} THEN TRUE"
            f" WHEN isfinite(p) THEN {' AND '.join([outside, *ranges])}"
            f" WHEN gap THEN NOT {gap} ELSE {bad} END"
        )

    def refuse(self) -> None:
        """Say where the first bad row is, what is wrong with it, and how many there are, if any."""
        rows, bad = f"({self.rows()})", "NOT coalesce(isfinite(p), FALSE) AND NOT gap"
        [(count,)] = self.on.rows(f"SELECT count(*) FROM {rows} WHERE {bad}")
        if not count:
            return
        tests, kinds = {}, self.model.schema.kinds
        for index, (name, kind) in enumerate(kinds.items()):
            is_gap, unreadable = f"r{index} IS NULL", self.source.unreadable(name, kind)
            test = is_gap if self.model.missing == "fail" else unreadable
            tests[name] = f"{test} OR NOT isfinite(r{index})" if kind == "number" else test
        inputs = enumerate(self.model.features) if self.model.missing == "fail" else ()
        tests |= {each.name: f"x{index} IS NULL" for index, each in inputs if each.factors}
        place, wrong = first_bad(self.source, rows, bad, tests, self.on.rows)
        too_large = ": the prediction is too large for a number"
        what = f", must be {MUST_BE[kinds.get(wrong, 'product')]}" if wrong else too_large
        raise InputError(f"{self.source.name}: {place}{what} ({plural(count, 'bad row')} in all)")

    def outputs(self, form: str) -> tuple[str, str]:
        """Return what to select, and how DuckDB writes it, as csv or parquet.

        CSV to CSV copies text as it is. Parquet gets the features of CSV as numbers.
        """
        names = () if self.only else self.source.columns
        columns = {name: f"c{index}" for index, name in enumerate(names)}
        made = {"prediction": "p"}
        if self.half_width is not None:
            reach = double(self.half_width)
            made |= {"prediction_low": f"p - {reach}", "prediction_high": f"p + {reach}"}
        if taken := [name for name in made if name in columns]:
            raise InputError(f"{self.source.name} has a column {taken[0]} already; use --only")
        if form == "parquet" and self.source.kind == "csv":
            for index, (name, kind) in enumerate(self.model.schema.kinds.items()):
                if kind == "number" and name in columns:
                    columns[name] = f"r{index}"
        columns |= made
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
        """Write the good rows to `path` as csv or parquet, and return remarks."""
        import duckdb  # here, as it takes long to load

        name, (outputs, options), seen = self.source.name, self.outputs(form), [*self.ranges()]
        for index in range(3 + len(seen)):
            self.on.rows(f"CREATE TEMP SEQUENCE s{index}")
        keep = self.keep([test for _, test in seen])
        good = f"SELECT {outputs} FROM ({self.rows()}) WHERE {keep}"
        options = f"USE_TMP_FILE false, FORMAT {options}"
        try:
            [(kept,)] = self.on.rows(f"COPY ({good}) TO {literal(str(path))} ({options})")
        except duckdb.InvalidInputException:  # a bad row, or a line that is no row
            if not self.skip:
                self.refuse()
            raise
        counts = "SELECT coalesce(last_value, 0) FROM duckdb_sequences() ORDER BY sequence_oid"
        [(gaps,), (bad,), (outside,), *each] = self.on.rows(counts)
        if not kept:
            what = f"all rows are bad, {bad:,}" if bad else "there are no rows to predict"
            raise InputError(f"{name}: {what}")
        remarks = []
        if gaps:
            remarks.append(f"left out {plural(gaps, 'row')} with a gap, as training did")
        if outside:
            _, (most, _) = max(zip(each, seen, strict=True), key=lambda pair: pair[0])
            rows = f"{outside:,} of {kept:,} rows outside the training range"
            remarks.append(f"{rows}, most often in {most}")
        how_many = ""
        if self.skip and self.source.kind == "csv":
            first = "min(line) FILTER (error_type = 'UNQUOTED VALUE')"
            query = f"SELECT count(DISTINCT line), count(*), {first} FROM reject_errors"
            [(lines, errors, quote)] = self.on.rows(query)
            if quote is not None:
                what = f"line {quote:,} has a quote that does not end"
                raise InputError(f"{name}: {what}: the rows behind it cannot be told")
            bad += lines
            how_many = "at least " if errors >= REJECTS else ""
        if bad:
            remarks.insert(0, f"dropped {how_many}{plural(bad, 'bad row')}, kept {kept:,}")
        return remarks
