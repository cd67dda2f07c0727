"""Hold the README to what the pipeline makes of California Housing, and to what it shows."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stages.predictor import c, document
from stages.predictor.payload import pack
from stages.project.files import PAGE, PLOTS, PREDICTIONS, PREDICTOR, SCORES
from tests.conftest import run, start_server

README = Path("README.md").read_text(encoding="utf-8")
Sweep = dict[tuple[str, int], dict[str, str]]


@pytest.fixture
def scores(checkout: Path) -> Any:
    return json.loads((checkout / SCORES).read_bytes())


@pytest.fixture
def sweep(checkout: Path) -> Sweep:
    with (checkout / PLOTS / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return {(row["rounding"], int(row["bits"])): row for row in csv.DictReader(file)}


def table(header: str) -> list[list[str]]:
    """Return the cells of the table whose header begins so, without header and rule."""
    lines = README[README.index(header) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_table_of_both_models_is_that_of_the_reports(scores: Any) -> None:
    models = scores["float"], scores["quantized"]
    change, sizes = scores["quantization"], scores["bytes"]
    assert table("| | float | 8-bit codes |") == [
        *(
            [f"{part} {label}", *(f"{model[part][score]:.6f}" for model in models)]
            for part, label, score in (
                ("train", "R²", "r2"),
                ("test", "R²", "r2"),
                ("test", "MSE", "mse"),
                ("test", "MAE", "mae"),
            )
        ),
        ["largest error of a coefficient", "", f"{change['coef_error']['max']:.6f}"],
        ["error of the intercept", "", f"{change['intercept_error']:.6f}"],
        [
            "largest error of a test prediction",
            "",
            f"{change['prediction_difference']['max']:.6f}",
        ],
        ["bytes of all that predicts", str(8 * 9), str(change["payload_bits"] // 8)],
        [
            "bytes of `models/*_params.joblib`",
            str(sizes["unquant_params_joblib"]),
            str(sizes["quant_params_joblib"]),
        ],
    ]


@pytest.mark.slow
def test_the_claims_are_those_of_the_reports(scores: Any, checkout: Path) -> None:
    predictor = document.load(checkout / PREDICTOR)
    payload = pack(predictor)
    assert payload.hex(" ") in README
    assert len(payload) == scores["quantization"]["payload_bits"] // 8
    assert f"The {len(payload)} bytes are the model" in README
    assert f"with almost no loss: {len(payload)} bytes, whose weights are proven" in README
    assert scores["quantization"]["optimal"]
    bound = scores["quantization"]["prediction_difference"]["bound"]
    assert f"differ by more than {bound:.6f}, in 100,000 dollars" in README
    bound_of_c = re.search(r"off by (\S+) at most", c.header(predictor))
    assert bound_of_c
    assert f"the proven bound of its error, here {bound_of_c[1]}." in README


@pytest.mark.slow
def test_the_table_of_the_sweep_is_that_of_the_reports(sweep: Sweep) -> None:
    assert table("| bits | bytes |") == [
        [
            str(bits),
            sweep["optimal", bits]["payload_bytes"],
            *(
                f"{sweep[rounding, bits]['mse_growth_percent']} %"
                for rounding in ("optimal", "gptq", "nearest")
            ),
            sweep["optimal", bits]["test_r2"],
            sweep["optimal", bits]["largest_difference"],
        ]
        for bits in (1, 2, 3, 5, 8, 12)
    ]


def test_the_map_names_every_room() -> None:
    cells = [row[0] for row in table("| | |")]
    for room in Path("stages").iterdir():
        if room.is_dir() and list(room.glob("*.py")):
            assert f"`stages/{room.name}`" in cells


@pytest.mark.slow
def test_the_curve_never_rises_and_is_never_above_the_others(sweep: Sweep) -> None:
    optimal, gptq, nearest = (
        [float(sweep[rounding, bits]["mse_growth_percent"]) for bits in range(1, 17)]
        for rounding in ("optimal", "gptq", "nearest")
    )
    assert sorted(optimal, reverse=True) == optimal
    assert all(best <= min(rest) for best, *rest in zip(optimal, gptq, nearest, strict=True))


def test_what_it_runs_from_nothing_is_what_ci_runs_first() -> None:
    fresh = r"^python3 -m venv .+&&.+$"
    scripts = [Path(".ci", name).read_text(encoding="utf-8") for name in ("pipeline", "test")]
    assert re.findall(fresh, "".join(scripts), re.M) == re.findall(fresh, README, re.M)


def test_the_picture_is_small_and_described() -> None:
    [(description, path), _] = re.findall(r"^!\[(.+)\]\((.+)\)$", README, re.MULTILINE)
    assert Path(path).stat().st_size <= 120_000
    with PREDICTIONS.open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert f"a prediction of {float(first['quantized']):.4f}" in description
    assert f"{first['float']} by the float model" in description
    for command in ("stages.report", "tests.browser"):
        assert f"`python -m {command}`" in README


def test_the_page_is_small() -> None:
    text = PAGE.read_bytes()
    assert len(text) < 300_000
    assert len(re.sub(rb"<svg.*?</svg>", b"", text, flags=re.DOTALL)) < 25_000


def test_every_file_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("../../actions/"):  # a page of GitHub
            assert Path(target).exists(), target


@pytest.mark.slow
def test_the_commands_print_what_is_shown(checkout: Path) -> None:
    server, _ = start_server(port=8080, cwd=checkout)
    try:
        for block in blocks("console"):
            for shown in block.removeprefix("$ ").split("\n$ "):
                command, _, expected = shown.partition("\n")
                done = run("bash", "-c", command, cwd=checkout)
                assert done.returncode == 0, done.stderr
                assert lines(done.stdout) == lines(expected), command
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "dvc plots show",
        "dvc plots diff",
        "dvc metrics diff --targets reports/scores.json",
        "dvc exp show --only-changed",
        "dvc exp run --queue -S 'quantize.bits=range(1,9)'",
    ],
)
def test_the_commands_within_the_text_run(command: str, checkout: Path) -> None:
    assert f"`{command}`" in README
    assert run("bash", "-c", command, cwd=checkout).returncode == 0


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]
