"""Take every CSV of a folder through the pipeline: what that takes, and how good the model is.

    python -m benchmarks.tables FOLDER

Each table is copied into a scratch folder, where `start` looks at it, and load, train, quantize and
evaluate run. The target is the last column that can be one. Seconds are those of CPU, above what a
stage takes for ten rows.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.cost import attempt, measure
from benchmarks.rows import STAGES, TABLE, make_checkout, without_pandas, write_params
from stages.columns import engine, source
from stages.project.files import SCORES, TEST, TRAIN
from stages.tables.table import NAMES

TRIED = 5  # columns, from the last on, that may be the target


class Result(NamedTuple):
    """What became of a table."""

    message: str = ""  # why it did not get through
    seconds: tuple[float, ...] = ()  # of each stage
    n_rows: int = 0
    n_features: int = 0
    test_r2: float = 0.0
    optimal: bool = False


def choose_target(folder: Path) -> str:
    """Let `start` make the last column that it takes the target; return what it says, if none."""
    with engine.connect(TABLE) as on:
        header = source.detect(folder / TABLE, TABLE, {}, on).columns
    message = "it has no columns"
    for name in reversed(header[-TRIED:]):
        start = [sys.executable, "-m", "stages.start", TABLE, "--target", name]
        _, message = attempt(start, folder)
        if not message:
            break
    return message.splitlines()[-1] if message else ""


def run(table: Path, floors: list[float]) -> Result:
    """Take a table through the stages, whose imports take `floors` seconds."""
    with make_checkout() as folder:
        shutil.copy(table, folder / TABLE)
        shutil.copy("params.yaml", folder)
        if message := choose_target(folder):
            return Result(message)
        seconds = []
        for stage, floor in zip(STAGES, floors, strict=True):
            cost, message = attempt(without_pandas(stage), folder)
            if message.startswith(f"{stage}: ") or "Traceback" in message:
                return Result(message)
            seconds.append(cost.cpu - floor)
        scores = json.loads((folder / SCORES).read_bytes())
        parts = [json.loads((folder / part / NAMES).read_bytes()) for part in (TRAIN, TEST)]
        n_rows, n_features = sum(each["n_rows"] for each in parts), len(parts[0]["low"]) - 1
        score = scores["quantized"]["test"]["r2"], scores["quantization"]["optimal"]
        return Result("", tuple(seconds), n_rows, n_features, *score)


def measure_floors() -> list[float]:
    """Return the seconds that each stage takes for ten rows: its imports."""
    with make_checkout() as folder:
        (folder / TABLE).write_text("x,y\n" + "".join(f"{i},{i * i}\n" for i in range(10)))
        write_params(folder, TABLE)
        return [min(measure(without_pandas(s), folder).cpu for _ in range(3)) for s in STAGES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="its CSV files are tried")
    tables = sorted(parser.parse_args().folder.glob("*.csv"))
    floors = measure_floors()
    print(
        f"{'table':40}{'rows':>8}{'inputs':>7}" + "".join(f"{s:>9}" for s in STAGES) + "  test R²"
    )
    through = []
    for table in tables:
        found = run(table, floors)
        if found.message:
            print(f"{table.stem[:39]:40}{found.message}", flush=True)
            continue
        through.append(found)
        seconds = "".join(f"{s:9.2f}" for s in found.seconds)
        proof = "optimal" if found.optimal else ""
        sizes = f"{found.n_rows:8}{found.n_features:7}"
        print(f"{table.stem[:39]:40}{sizes}{seconds}{found.test_r2:9.4f} {proof}", flush=True)
    print(f"{len(through)} of {len(tables)} got through")
    for index, stage in enumerate(STAGES if through else ()):
        taken = [found.seconds[index] for found in through]
        print(f"{stage}: median {median(taken):.2f} s, slowest {max(taken):.2f} s")


if __name__ == "__main__":
    main()
