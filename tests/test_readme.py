"""Hold the README to the reports, the pipeline and the commands that it shows."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import report
from stages.quantizer.search import GRIDS
from tests.conftest import run

README = Path("README.md").read_text(encoding="utf-8")
METRICS: dict[str, Any] = json.loads(Path("reports/metrics.json").read_bytes())

with Path("reports/plots/sweep.csv").open(encoding="utf-8", newline="") as file:
    SWEEP = {(row["rounding"], int(row["bits"])): row for row in csv.DictReader(file)}


def table(header: str) -> list[list[str]]:
    """Return the cells of the table whose header begins so, without header and rule."""
    lines = README[README.index(header) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_diagrams_are_those_of_dvc_and_ci() -> None:
    dag = run("dvc", "dag", "--mermaid", cwd=Path())
    pipeline, ci = blocks("mermaid")
    assert pipeline == dag.stdout.rstrip() + "\n"
    workflow = yaml.safe_load(Path(".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert re.findall(r"\w+_\w+", ci) == list(workflow["jobs"])


def test_the_table_of_both_models_is_that_of_the_reports() -> None:
    models = METRICS["float"], METRICS["quantized"]
    assert table("| | float | 8-bit codes |") == [
        [f"{part} {label}", *(f"{model[part][score]:.6f}" for model in models)]
        for part, label, score in (
            ("train", "R²", "r2"),
            ("test", "R²", "r2"),
            ("test", "MSE", "mse"),
            ("test", "MAE", "mae"),
        )
    ]


def test_the_claims_are_those_of_the_reports() -> None:
    growth = {key: float(row["mse_growth_percent"]) for key, row in SWEEP.items()}
    assert f"at 8 bits the training MSE grows by {growth['optimal', 8]:.6f} %" in README
    assert f"at 1 bit by {growth['optimal', 1]:.2f} %" in README
    assert f"makes it grow by {growth['nearest', 1]:.0f} %" in README
    assert f"its best of {GRIDS:,}" in README
    assert METRICS["quantization"]["mse_growth_percent"] == growth["optimal", 8]
    bound = METRICS["quantization"]["prediction_difference"]["bound"]
    assert f"differ by more than {bound:.6f}, in 100,000 dollars" in README


def test_the_table_of_the_sweep_is_that_of_the_reports() -> None:
    def cells(row: dict[str, str]) -> list[str]:
        return [
            f"{row['mse_growth_percent']} %",
            row["train_r2"],
            row["test_r2"],
            row["largest_difference"],
        ]

    assert table("| bits | payload, bits |") == [
        [
            str(bits),
            SWEEP["optimal", bits]["payload_bits"],
            *cells(SWEEP["optimal", bits]),
            *cells(SWEEP["nearest", bits]),
        ]
        for bits in range(1, 17)
    ]
    assert all(
        SWEEP["optimal", bits]["payload_bits"] == SWEEP["nearest", bits]["payload_bits"]
        for bits in range(1, 17)
    )


def test_the_table_of_payloads_is_that_of_the_reports() -> None:
    names = {
        "8-bit codes, `optimal`": ("optimal", 8),
        "8-bit codes, `nearest`": ("nearest", 8),
        "14-bit codes, `optimal`": ("optimal", 14),
        "14-bit codes, `nearest`": ("nearest", 14),
        "float32": ("float32", 32),
        "8-bit codes, a float32 scale each": ("a scale each", 8),
    }
    assert table("| | payload, bits | growth of the training MSE |") == [
        [name, SWEEP[key]["payload_bits"], f"{SWEEP[key]['mse_growth_percent']} %"]
        for name, key in names.items()
    ]


def test_the_curve_never_rises_and_is_never_above_nearest() -> None:
    optimal = [float(SWEEP["optimal", bits]["mse_growth_percent"]) for bits in range(1, 17)]
    nearest = [float(SWEEP["nearest", bits]["mse_growth_percent"]) for bits in range(1, 17)]
    assert sorted(optimal, reverse=True) == optimal
    assert all(one <= other for one, other in zip(optimal, nearest, strict=True))


def test_every_picture_is_shown_and_described() -> None:
    shown = dict(re.findall(r"^!\[(.+)\]\((.+)\)$", README, re.MULTILINE))
    assert sorted(shown.values()) == sorted(f"reports/pictures/{name}" for name in report.PLOTS)
    assert "`python -m stages.pictures`" in README


def test_every_file_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("../../actions/"):  # a page of GitHub
            assert Path(target).exists(), target


@pytest.mark.slow
def test_the_commands_print_what_is_shown(checkout: Path) -> None:
    for block in blocks("console"):
        for shown in block.removeprefix("$ ").split("\n$ "):
            command, _, expected = shown.partition("\n")
            done = run("bash", "-c", command, cwd=checkout)
            assert done.returncode == 0, done.stderr
            assert lines(done.stdout) == lines(expected), command


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["dvc plots show", "dvc plots diff", "dvc exp run --queue -S 'quantize.bits=range(1,9)'"],
)
def test_the_commands_within_the_text_run(command: str, checkout: Path) -> None:
    assert f"`{command}`" in README
    assert run("bash", "-c", command, cwd=checkout).returncode == 0


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]
