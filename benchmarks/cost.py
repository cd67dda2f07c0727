"""What a process takes, and what a benchmark needs."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """What a process took: seconds, seconds of CPU, and MB of memory at its peak."""

    wall: float
    cpu: float
    peak: float


def require(*packages: str) -> None:
    """Exit with one line unless Python finds these packages."""
    if missing := [package for package in packages if not find_spec(package)]:
        print(f"needs {', '.join(missing)}: pip install -r tests/requirements.txt", file=sys.stderr)
        sys.exit(2)


def attempt(command: Sequence[str], folder: Path = Path()) -> tuple[Cost, str]:
    """Run a process in `folder`; return what it took, and what it says if it fails.

    Children that it waits for count, too.
    """
    if sys.platform == "win32":
        sys.exit("benchmarks need wait4, which Windows lacks")
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None  # noqa: S101
    message = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    cost = Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return cost, (message.strip() or "it failed") if status else ""


def measure(command: Sequence[str], folder: Path = Path()) -> Cost:
    """Run a process as `attempt` does; it must succeed."""
    cost, message = attempt(command, folder)
    if message:
        sys.exit(f"{' '.join(command[:3])} failed: {message}")
    return cost


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def line(what: str, cost: Cost) -> str:
    return f"{what:28} {cost.wall:8.2f} s {cost.cpu:8.2f} s CPU {cost.peak:8.0f} MB"
