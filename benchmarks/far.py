"""Measure the stages on a table that is here, and on the same table where a server has it.

Here is DuckDB. Servers are Sail, which this starts, and those of `--remote`, such as Apache Spark
with two workers. The memory is that of the stage, not of the server. It ends with an error unless
all give the same sums and scores.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.predict import measure
from stages.project.files import SCORES, SUMS

FEATURES = 8
STAGES = ("load", "train", "quantize", "evaluate")
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
PARAMETERS = """
load: {{dataset: {dataset}, target: y, features: null, unit: null, key: id, missing: fail,
  levels: 50, test_size: 0.2, seed: 42}}
quantize: {{bits: 8, rounding: optimal}}
evaluate: {{samples: 10}}
gate: {{min_r2: 0.5, max_r2_drop: 0.001}}
"""


def results(folder: Path, dataset: str) -> list[bytes]:
    both = (folder / SUMS, folder / SCORES)
    return [path.read_bytes().replace(dataset.encode(), b"NAME") for path in both]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--remote", action="append", default=[], help="another server, as sc://…")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree("stages", folder / "stages")
        (folder / NEAR).parent.mkdir(parents=True)
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
        print(f"{'':24}" + "".join(f"{stage:>18}" for stage in (*STAGES, "all")) + "  ratio")
        first, expected = 0.0, None
        for label, remote in runs:
            dataset = FAR if remote else NEAR
            (folder / "params.yaml").write_text(PARAMETERS.format(dataset=dataset))
            os.environ["SPARK_REMOTE"] = remote
            costs = [measure([sys.executable, "-m", f"stages.{stage}"], folder) for stage in STAGES]
            wall, peak = sum(cost.wall for cost in costs), max(cost.peak for cost in costs)
            cells = [f"{cost.wall:6.1f} s {cost.peak:5.0f} MB" for cost in costs]
            cells.append(f"{wall:6.1f} s {peak:5.0f} MB")
            first = first or wall
            expected = expected or results(folder, dataset)
            print(f"{label:24}" + "".join(f"{cell:>18}" for cell in cells) + f"{wall / first:7.1f}")
            sys.stdout.flush()
            if results(folder, dataset) != expected:
                sys.exit(f"{label}: other sums or scores than DuckDB's")
        sail.terminate()


if __name__ == "__main__":
    main()
