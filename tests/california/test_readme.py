"""Hold README and docs to what the pipeline makes of California Housing, and to what it shows."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import joblib
import pytest

from stages.project.files import PREDICTIONS, QUANT_PARAMS, SCORES
from tests.conftest import run, start_server

DOCS = {path: path.read_text(encoding="utf-8") for path in sorted(Path("docs").glob("*.md"))}
README = Path("README.md").read_text(encoding="utf-8")
PAGES = {Path("README.md"): README, **DOCS}
TEXT = "\n".join(PAGES.values())


def table(header: str) -> list[list[str]]:
    """Return the cells of the table whose header begins so, without header and rule."""
    lines = TEXT[TEXT.index(header) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def commands(text: str) -> list[str]:
    """Return the commands of a page, each with what it prints on the lines below it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [shown for block in blocks for shown in block.removeprefix("$ ").split("\n$ ")]


@pytest.fixture
def scores(checkout: Path) -> Any:
    return json.loads((checkout / SCORES).read_bytes())


@pytest.mark.slow
def test_the_table_of_both_models_is_that_of_the_reports(scores: Any) -> None:
    models, change = (scores["float"], scores["quantized"]), scores["quantization"]
    sizes = [str(scores["bytes"][f"{kind}_params_joblib"]) for kind in ("unquant", "quant")]
    r2, mse, mae = ([f"{model['test'][it]:.6f}" for model in models] for it in ("r2", "mse", "mae"))
    assert table("| | float | 8 bits |") == [
        ["test R²", *r2],
        ["test MSE", *mse],
        ["test MAE", *mae],
        ["train R²", *(f"{model['train']['r2']:.6f}" for model in models)],
        ["largest error of a coefficient", "", f"{change['coef_error']['max']:.6f}"],
        ["error of the intercept", "", f"{change['intercept_error']:.6f}"],
        ["largest error of a test prediction", "", f"{change['prediction_difference']['max']:.6f}"],
        ["bytes of all that predicts", str(8 * 9), str(change["payload_bits"] // 8)],
        ["bytes of `models/*_params.joblib`", *sizes],
    ]


@pytest.mark.slow
def test_the_claims_are_those_of_the_reports(scores: Any, checkout: Path) -> None:
    payload = joblib.load(checkout / QUANT_PARAMS)["payload"]
    change = scores["quantization"]
    assert change["optimal"]
    assert payload.hex(" ") in TEXT
    assert f"needs {len(payload)} bytes instead of {8 * 9}" in README
    r2 = [f"{scores[model]['test']['r2']:.4f}" for model in ("float", "quantized")]
    assert "test R² falls from {} to {}".format(*r2) in README
    bound = change["prediction_difference"]["bound"]
    assert f"differ by more than {bound:.6f}, in 100,000 dollars" in TEXT
    [bound_of_c] = re.findall("proven bound of its error, here (.+?)[.]\n", TEXT)
    assert bound_of_c in run("python", "-m", "stages.predict", "--c", cwd=checkout).stdout


@pytest.mark.slow
def test_the_table_of_formats_is_what_the_benchmark_prints(checkout: Path) -> None:
    printed = run("python", "-m", "benchmarks.formats", cwd=checkout).stdout.splitlines()
    for header in ("| bits | bytes | optimal |", "| format | bits |"):
        for row in table(header):
            assert f"| {' | '.join(row)} |" in printed


@pytest.mark.slow
def test_what_terms_hold_is_what_the_benchmark_prints(checkout: Path) -> None:
    rows = table("| table | rows | features |")
    files = [next(Path("../shared/tables").glob(f"{row[0]}.csv"), None) for row in rows]
    found = [str(path.resolve()) for path in files if path]
    printed = run("python", "-m", "benchmarks.inputs", *found, cwd=checkout).stdout.splitlines()
    named = {"california_housing", "diabetes", "cars", *(Path(path).stem for path in found)}
    told = [row for row in rows if row[0] in named]
    assert len(told) >= 3
    for row in told:
        assert f"| {' | '.join(row)} |" in printed
    widths = [line.split(" | ") for line in printed if line.startswith("| and 3 suggested")]
    bits, size, _, r2 = widths[0][1:]
    size += " bytes in all, reach a test R² of " + r2.removesuffix(" |")
    assert f"weights of {bits} bits, {size}" in TEXT


def test_the_map_names_every_room() -> None:
    cells = [row[0] for row in table("| | |")]
    assert {f"`{room.parent.as_posix()}`" for room in Path("stages").glob("*/*.py")} <= set(cells)


def test_what_it_runs_from_nothing_is_what_ci_runs_first() -> None:
    names = "train_and_quantize", "test_suite"
    scripts = [Path(".ci", name).read_text(encoding="utf-8") for name in names]
    fresh = r"^python3 -m venv .+&&.+$"
    assert re.findall(fresh, "".join(scripts), re.M) == re.findall(fresh, README, re.M)
    powershell = "python -m venv .+?; dvc repro"
    assert re.findall(powershell, scripts[0]) == re.findall(powershell, README) != []


def test_the_pictures_are_small_and_described_for_any_table() -> None:
    found = dict(re.findall(r'<img [^>]*src="(.+?)" alt="(.+?)"', README))
    assert {*found} == {path.as_posix() for path in Path("reports/pictures").iterdir()}
    assert all(Path(path).stat().st_size <= 120_000 for path in found)
    with PREDICTIONS.open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    assert not any(name in description for name in names[:-4] for description in found.values())


def test_every_file_that_is_linked_exists() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if not target.startswith("../../actions/"):  # a page of GitHub
                assert (page.parent / target).exists(), target
    assert all(f"]({page.as_posix()})" in README for page in DOCS)


def test_every_file_of_requirements_has_its_command() -> None:
    for file in Path("requirements").iterdir():
        assert f"`pip install -r {file.as_posix()}" in TEXT


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if commands(text)], ids=str)
def test_the_commands_print_what_is_shown(page: Path, checkout: Path, sail: str) -> None:
    server, port = start_server(cwd=checkout)
    try:
        for shown in commands(PAGES[page]):
            command, _, expected = shown.partition("\n")
            command = command.replace("localhost:8080", f"localhost:{port}")
            command = command.replace("sc://localhost:50051", sail)
            done = run("bash", "-c", command, cwd=checkout)
            assert done.returncode == 0, done.stderr
            assert lines(done.stdout) == lines(expected), command
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("command", re.findall("`(dvc (?:plots|metrics|exp) .+?)`", TEXT))
def test_the_commands_within_the_text_run(command: str, checkout: Path) -> None:
    assert run("bash", "-c", command, cwd=checkout).returncode == 0


def lines(text: str) -> list[str]:
    """Return lines without blanks at the end, nor the seconds of a stage that took long."""
    return [re.sub(r"(, \d+ s)?\s*$", "", line) for line in text.splitlines()]
