"""Fail when the quantized model falls short of evaluate.min_r2 or evaluate.max_r2_drop."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from stages import cli, params
from stages.artifact import METRICS
from stages.cli import InputError
from stages.params import Evaluate


def shortfalls(metrics: Mapping[str, Any], limits: Evaluate) -> list[str]:
    """Say in one line each which limits the quantized model misses on the test rows."""
    r2 = metrics["quantized"]["test"]["r2"]
    drop = metrics["quantization"]["r2_drop"]
    lines = []
    if r2 < limits.min_r2:
        lines.append(f"test R² is {r2}, evaluate.min_r2 wants at least {limits.min_r2}")
    if drop > limits.max_r2_drop:
        lines.append(f"test R² drops by {drop}, evaluate.max_r2_drop allows {limits.max_r2_drop}")
    return lines


def main() -> None:
    limits = params.read().evaluate
    try:
        lines = shortfalls(json.loads(METRICS.read_bytes()), limits)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{METRICS} is damaged, `dvc repro` makes it: {error!r}") from error
    for line in lines:
        print(f"gate: {line}", file=sys.stderr)
    if lines:
        sys.exit(1)
    print(f"gate: test R² and its drop keep to {limits.min_r2} and {limits.max_r2_drop}")


if __name__ == "__main__":
    cli.run(main, __doc__)
