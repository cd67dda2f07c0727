"""Fail when the quantized model falls short of gate.min_r2 or gate.max_r2_drop."""

import sys
from collections.abc import Mapping
from typing import Any

from stages.project import cli, files, params
from stages.project.files import DECIMALS, METRICS
from stages.project.params import Gate


def shortfalls(metrics: Mapping[str, Any], limits: Gate) -> list[str]:
    """Say in one line each which limits the quantized model misses on the test rows."""
    r2 = metrics["test_r2"]["quantized"]
    drop = round(metrics["test_r2"]["float"] - r2, DECIMALS)
    lines = []
    if limits.min_r2 is not None and r2 < limits.min_r2:
        lines.append(f"test R² is {r2}, gate.min_r2 wants at least {limits.min_r2}")
    if drop > limits.max_r2_drop:
        lines.append(f"test R² drops by {drop}, gate.max_r2_drop allows {limits.max_r2_drop}")
    return lines


def main() -> str:
    limits = params.read().gate
    with files.reading(METRICS):
        lines = shortfalls(files.load_json(METRICS, dict[str, Any]), limits)
    if lines:  # the exit code is 1
        sys.exit("\n".join(f"gate: {line}" for line in lines))
    least = "" if limits.min_r2 is None else f"test R² ≥ {limits.min_r2}, "
    return f"passed: {least}drop ≤ {limits.max_r2_drop}"


if __name__ == "__main__":
    cli.run(main, __doc__)
