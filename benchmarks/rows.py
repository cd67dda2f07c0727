"""Measure time and peak memory of the four stages on 20 features and up to 3 million rows.

The time per row should not grow, and no stage should need more than 2 GB.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.predict import measure
from stages.tables.raw import FOLDER

ROWS = (300_000, 1_000_000, 3_000_000)
FEATURES = 20
STAGES = ("load", "train", "quantize", "evaluate")

MAKE = """
import sys, duckdb
rows, features, path = sys.argv[1:]
duckdb.execute("SET enable_progress_bar = false; SET threads = 1")
duckdb.execute("SELECT setseed(0.5)").fetchall()
xs = [f"x{j}" for j in range(int(features))]
random = ", ".join(f"{j + 1} * random() AS {x}" for j, x in enumerate(xs))
table = duckdb.sql(f"SELECT {random} FROM range({rows})")
table.project(f"*, {' + '.join(xs)} + random() AS y").write_csv(path)
"""
PARAMETERS = """
load: {dataset: data/raw/t.csv, target: y, features: null, unit: null, test_size: 0.2, seed: 42}
quantize: {bits: 8, rounding: optimal}
evaluate: {samples: 10}
gate: {min_r2: 0.5, max_r2_drop: 0.001}
"""


def main() -> None:
    print(f"{'rows':>10}" + "".join(f"{stage:>18}" for stage in (*STAGES, "all")) + "  us/row")
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shutil.copytree("stages", folder / "stages")
            (folder / FOLDER).mkdir(parents=True)
            (folder / "params.yaml").write_text(PARAMETERS)
            made = [str(rows), str(FEATURES), str(folder / FOLDER / "t.csv")]
            subprocess.run([sys.executable, "-c", MAKE, *made], check=True)
            costs = [measure([sys.executable, "-m", f"stages.{stage}"], folder) for stage in STAGES]
        wall = sum(cost.wall for cost in costs)
        cells = [f"{cost.wall:6.1f} s {cost.peak:5.0f} MB" for cost in costs]
        cells.append(f"{wall:6.1f} s {max(cost.peak for cost in costs):5.0f} MB")
        print(
            f"{rows:10,}" + "".join(f"{cell:>18}" for cell in cells) + f"{wall / rows * 1e6:8.1f}"
        )


if __name__ == "__main__":
    main()
