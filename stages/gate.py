"""Fail when the quantized model falls short of a limit of `gate` in params.yaml."""

import sys
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from stages.predictor import document
from stages.project import cli, files, params
from stages.project.cli import InputError
from stages.project.files import DECIMALS, METRICS
from stages.project.params import Gate
from stages.project.text import join


def shortfalls(metrics: Mapping[str, Any], limits: Gate) -> list[str]:
    """Say in one line each which limits the model misses, or which cannot be told."""
    r2, folds = metrics.get("test_r2"), metrics.get("cv_r2", {}).get("mean")
    lines = []
    for name, what, value in (("min_r2", "test R²", r2), ("min_cv_r2", "mean R² of folds", folds)):
        least = getattr(limits, name)
        if least is not None and (value is None or value < least):
            told = "missing" if value is None else value
            lines.append(f"{what} is {told}, gate.{name} wants at least {least}")
    if r2 is not None and (drop := round(metrics["float_r2"] - r2, DECIMALS)) > limits.max_r2_drop:
        lines.append(f"test R² drops by {drop}, gate.max_r2_drop allows {limits.max_r2_drop}")
    return lines


def main() -> str:
    config, of = params.read(), document.load(files.PREDICTOR).dataset
    limits, dataset = config.gate, config.load.dataset
    if of != dataset:
        raise InputError(f"the metrics are of {of}, load.dataset is {dataset}: run `dvc repro`")
    for name in ("min_r2", "min_cv_r2"):
        if isinstance(least := getattr(limits, name), dict):
            if dataset not in least:
                what = f"gate.{name} must be a number or null, or name {dataset}"
                raise InputError(f"{what}; it names {join([*least])}")
            limits = replace(limits, **{name: least[dataset]})
    metrics = files.load_json(METRICS, dict[str, Any])
    with files.reading(METRICS):
        lines = shortfalls(metrics, limits)
    if lines:  # the exit code is 1
        sys.exit("\n".join(f"gate: {line}" for line in lines))
    least = "" if limits.min_r2 is None else f"test R² ≥ {limits.min_r2}, "
    least += "" if limits.min_cv_r2 is None else f"mean R² of folds ≥ {limits.min_cv_r2}, "
    drop = f"drop ≤ {limits.max_r2_drop}" if "test_r2" in metrics else "there are no test rows"
    return f"passed: {least}{drop}"


if __name__ == "__main__":
    cli.run(main, __doc__)
