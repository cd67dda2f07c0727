"""Compare predict with pandas and scikit-learn, and with DuckDB alone, as whole processes.

Needs `dvc repro`. Runs are interleaved, and the medians compared. DuckDB alone checks and counts
nothing. Where the model takes more than numbers, there is nothing to compare: scikit-learn's has
features instead of columns.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cost import Cost, line, measure, median, require
from stages.columns.sql import identifier
from stages.predictor import document
from stages.predictor.expression import expression
from stages.project.files import MODEL, PREDICTOR, TEST
from stages.tables.table import SAMPLE

MAKE = """
import sys, duckdb
test, rows, path = sys.argv[1:]
duckdb.execute("SET enable_progress_bar = false")
numbers = f'range({rows}) AS numbers("number of the benchmark")'
duckdb.sql(f"SELECT rows.* FROM '{test}' AS rows, {numbers} LIMIT {rows}").write_csv(path)
"""
PANDAS = """
import sys, joblib, pandas
table, out, model, only, *features = sys.argv[1:]
rows = pandas.read_csv(table, usecols=features if only else None)
rows["prediction"] = joblib.load(model).predict(rows[features].to_numpy())
rows.to_csv(out, index=False, columns=["prediction"] if only else None)
"""
DUCKDB = """
import csv, sys, duckdb
table, out, prediction, *features = sys.argv[1:]
with open(table) as file:
    header = next(csv.reader(file))
types = {name: "DOUBLE" if name in features else "VARCHAR" for name in header}
duckdb.execute("SET enable_progress_bar = false")
rows = f"read_csv('{table}', columns = {types}, auto_detect = false, header = true)"
duckdb.execute(f"COPY (SELECT {prediction} AS prediction FROM {rows}) TO '{out}' (FORMAT csv)")
"""


def make(rows: int, path: Path) -> None:
    """Write a CSV of so many rows: the test rows, again and again.

    Another process does it: the peak of a process counts from its fork, so this one stays small.
    """
    run = [sys.executable, "-c", MAKE, str(TEST / SAMPLE), str(rows), str(path)]
    subprocess.run(run, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians are taken")
    parser.add_argument("--most", type=int, default=20_000_000, help="rows of the longest table")
    args = parser.parse_args()
    require("duckdb", "joblib", "pandas", "sklearn")
    model = document.load(PREDICTOR)
    kinds = model.schema.kinds
    with tempfile.TemporaryDirectory(dir=".") as folder:
        table, out = Path(folder, "houses.csv"), Path(folder, "out.csv")
        predict = [sys.executable, "-m", "stages.predict", str(table), "--output", str(out)]

        def script(code: str, *rest: str) -> list[str]:
            return [sys.executable, "-c", code, str(table), str(out), *rest, *kinds]

        alone, whole = {"predict --only": [*predict, "--only"]}, {"predict": predict}
        if {*kinds.values()} == {"number"} and model.missing != "mean":
            prediction = expression(model, [identifier(name) for name in kinds])
            alone["DuckDB alone"] = script(DUCKDB, prediction)
            alone["pandas and scikit-learn"] = script(PANDAS, str(MODEL), "only")
            whole["pandas and scikit-learn"] = script(PANDAS, str(MODEL), "")
        for rows, commands in itertools.product((1, 2_000_000), (alone, whole)):
            make(rows, table)
            costs: dict[str, list[Cost]] = {name: [] for name in commands}
            for _ in range(args.rounds):
                for name, command in commands.items():
                    costs[name].append(measure(command))
            print(f"{rows:,} row{'s' if rows > 1 else ''}, medians of {args.rounds} rounds")
            ours, *others = map(median, costs.values())
            for name, cost in zip(costs, (ours, *others), strict=True):
                print(line(f"  {name}", cost))
            for name, theirs in zip([*costs][1:], others, strict=True):
                ratios = (f"{b / a:.2f}" for a, b in zip(ours, theirs, strict=True))
                print("  {}: {} x time, {} x CPU, {} x memory".format(name, *ratios), flush=True)
        print("peak memory of predict")
        rows = args.most // 100
        while rows <= args.most:
            make(rows, table)
            print(line(f"  {rows:,} rows", measure(predict)), flush=True)
            rows *= 10


if __name__ == "__main__":
    main()
