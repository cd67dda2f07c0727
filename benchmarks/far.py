"""Measure the stages on a table that is here, and on the same table where a server has it.

Here is DuckDB. Servers are Sail, which this starts, and those of `--remote`, such as Apache Spark
with two workers. The memory is that of the stage, not of the server. It ends with an error unless
all give the same sums and scores.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.cost import require
from benchmarks.rows import HEADER, make_checkout, measure_stages, write_params
from stages.project.files import SCORES, SUMS

FEATURES = 8
NEAR, FAR = "data/raw/t.pqt", "data/raw/t.sql"  # of one length, as scores.json has bytes
MAKE = """
import sys, duckdb
rows, features, path = sys.argv[1:]
duckdb.execute("SET enable_progress_bar = false; SET threads = 1")
duckdb.execute("SELECT setseed(0.5)").fetchall()
xs = [f"x{j}" for j in range(int(features))]
random = ", ".join(f"{j + 1} * random() AS {x}" for j, x in enumerate(xs))
table = f"SELECT i AS id, {random} FROM range({rows}) AS t(i)"
table = f"SELECT *, {' + '.join(xs)} + random() AS y FROM ({table})"
duckdb.execute(f"COPY ({table}) TO '{path}' (FORMAT parquet)")
"""
SERVE = """
from pysail.spark import SparkConnectServer
server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
print("sc://%s:%s" % server.listening_address, flush=True)
input()
"""


def as_people_do(stage: str) -> list[str]:
    return [sys.executable, "-m", f"stages.{stage}"]


def read_results(folder: Path, dataset: str) -> tuple[bytes, Any]:
    """Return the sums and the scores, without the name of the table."""
    scores = json.loads((folder / SCORES).read_bytes())
    del scores["predictor"]  # the hash of a file that has the name
    return (folder / SUMS).read_bytes().replace(dataset.encode(), b""), scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--remote", action="append", default=[], help="another server, as sc://…")
    args = parser.parse_args()
    require("pysail", "pyspark")

    with make_checkout() as folder:
        make = [sys.executable, "-c", MAKE, str(args.rows), str(FEATURES), str(folder / NEAR)]
        subprocess.run(make, check=True)
        (folder / FAR).write_text(f"SELECT * FROM parquet.`{folder / NEAR}`")
        sail = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"RUST_LOG": "error"},
        )
        assert sail.stdout is not None  # noqa: S101
        runs = [("DuckDB, here", ""), ("Sail", sail.stdout.readline().strip())]
        runs += [(remote, remote) for remote in args.remote]
        print(f"{args.rows:,} rows x {FEATURES}, with a key; ratios are to the first line")
        print(f"{'':24}{HEADER}  ratio")
        first, expected = 0.0, None
        for label, remote in runs:
            dataset = FAR if remote else NEAR
            write_params(folder, dataset, key="id")
            os.environ["SPARK_REMOTE"] = remote
            wall, cells = measure_stages(folder, as_people_do)
            first = first or wall
            expected = expected or read_results(folder, dataset)
            print(f"{label:24}{cells}{wall / first:7.1f}", flush=True)
            if read_results(folder, dataset) != expected:
                sys.exit(f"{label}: other sums or scores than DuckDB's")
        sail.terminate()


if __name__ == "__main__":
    main()
