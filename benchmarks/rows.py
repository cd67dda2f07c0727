"""Measure the stages on long and wide tables, and `train` against pandas and scikit-learn.

Stages: time and peak memory for 20 numbers, two texts of 30 and 4 levels, and ever more rows. The
peak should not grow.
Against `pandas.read_parquet`, StandardScaler and LinearRegression, as whole processes, both from
Parquet to coefficients: rounds are interleaved, and the medians compared.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.cost import Cost, line, measure, median, require
from stages.project.files import TRAIN
from stages.tables.table import ROWS

TABLE = "data/raw/t.csv"
FEATURES = 20
LEVELS = (30, 4)
STAGES = ("load", "train", "quantize", "evaluate")
HEADER = "".join(f"{stage:>18}" for stage in (*STAGES, "all"))
COMPARED = ((3_000_000, 20), (200_000, 300))  # rows and features

MAKE = """
import sys, duckdb
rows, features, texts, path = sys.argv[1:]
duckdb.execute("SET enable_progress_bar = false; SET threads = 1")
duckdb.execute("SELECT setseed(0.5)").fetchall()
xs = [f"x{j}" for j in range(int(features))]
random = ", ".join(f"{j + 1} * random() AS {x}" for j, x in enumerate(xs))
random += "".join(f", 'level ' || floor({n} * random())::INT AS t{n}" for n in eval(texts))
table = duckdb.sql(f"SELECT {random} FROM range({rows})")
table.project(f"*, {' + '.join(xs)} + random() AS y").write_csv(path)
"""
PANDAS = """
import sys, pandas
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rows = pandas.read_parquet(sys.argv[1])
model = make_pipeline(StandardScaler(), LinearRegression())
print(model.fit(rows.iloc[:, :-1], rows.iloc[:, -1])[-1].coef_)
"""
# scikit-learn imports pandas where there is one, and the pipeline's requirements have none
STAGE = """
import runpy, sys
class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, NoPandas())
runpy.run_module(f"stages.{sys.argv.pop()}", run_name="__main__", alter_sys=True)
"""


@contextmanager
def make_checkout() -> Iterator[Path]:
    """Yield a folder that has the stages, and room for a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree("stages", folder / "stages")
        (folder / TABLE).parent.mkdir(parents=True)
        yield folder


def write_params(
    folder: Path, dataset: str, key: str | None = None, target: str | None = "y"
) -> None:
    """Write the parameters of this checkout, with another table."""
    params = YAML(typ="safe").load(Path("params.yaml"))
    params["load"] |= {"dataset": dataset, "target": target, "features": None, "key": key}
    (folder / "params.yaml").write_text(json.dumps(params), encoding="utf-8")


def make_table(folder: Path, rows: int, features: int, levels: Sequence[int] = ()) -> None:
    arguments = [str(rows), str(features), str(levels), str(folder / TABLE)]
    subprocess.run([sys.executable, "-c", MAKE, *arguments], check=True)
    write_params(folder, TABLE)


def without_pandas(stage: str) -> list[str]:
    return [sys.executable, "-c", STAGE, stage]


def measure_stages(folder: Path, command: Callable[[str], list[str]]) -> tuple[float, str]:
    """Run all stages; return the seconds that they took, and the cells of a line of a table."""
    costs = [measure(command(stage), folder) for stage in STAGES]
    wall, cpu, peak = zip(*costs, strict=True)
    costs.append(Cost(sum(wall), sum(cpu), max(peak)))
    cells = (f"{cost.wall:7.1f} s {cost.peak:5.0f} MB" for cost in costs)
    return costs[-1].wall, "".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--most", type=int, default=3_000_000, help="rows of the longest table")
    args = parser.parse_args()
    require("pandas")

    print(f"{'rows':>10}{HEADER}  us/row")
    rows = args.most // 10
    while rows <= args.most:
        with make_checkout() as folder:
            make_table(folder, rows, FEATURES, LEVELS)
            wall, cells = measure_stages(folder, without_pandas)
        print(f"{rows:10,}{cells}{wall / rows * 1e6:8.1f}", flush=True)
        rows *= 10

    for rows, features in COMPARED:
        with make_checkout() as folder:
            make_table(folder, rows, features)
            measure(without_pandas("load"), folder)
            pandas = [sys.executable, "-c", PANDAS, str(TRAIN / ROWS)]
            costs = [
                measure(command, folder)
                for _ in range(args.rounds)
                for command in (without_pandas("train"), pandas)
            ]
        ours, theirs = median(costs[::2]), median(costs[1::2])
        print(f"{rows:,} rows x {features}, medians of {args.rounds} rounds")
        print(line("  train", ours))
        print(line("  pandas and scikit-learn", theirs))
        ratios = (f"{b / a:.1f}" for a, b in zip(ours, theirs, strict=True))
        print("  ratio: time {}, CPU {}, memory {}".format(*ratios), flush=True)


if __name__ == "__main__":
    main()
