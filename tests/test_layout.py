"""Hold the code to its layout, and dvc.yaml to the code."""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.project.files import PREDICTOR
from tests.conftest import run, succeed

STAGES = ("load", "train", "quantize", "evaluate")
COMMANDS = {*STAGES, "predict", "serve", "gate", "report", "start", "suggest"}
# each may use those before
ROOMS = ("project", "columns", "tables", "regression", "quantizer", "predictor")
PIPELINE: dict[str, Any] = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))


def list_imports(file: Path) -> set[Path]:
    """Return the files of `stages` that a file imports itself, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", "")
            names |= {module, *(f"{module}.{alias.name}".strip(".") for alias in node.names)}
    files = {Path(name.replace(".", "/") + ".py") for name in names if name.startswith("stages.")}
    return {path for path in files if path.exists()}


def list_all_imports(file: Path) -> set[Path]:
    """Return a file and all files of `stages` that it imports, directly or not."""
    found, new = {file}, {file}
    while new := {path for each in new for path in list_imports(each)} - found:
        found |= new
    return found


def test_files_are_commands_and_folders_are_rooms() -> None:
    assert {path.stem for path in Path("stages").glob("*.py")} == COMMANDS
    folders = {path.relative_to("stages").parent for path in Path("stages").rglob("*/*.py")}
    assert {folder.as_posix() for folder in folders} == {*ROOMS, "tables/datasets"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_the_rooms_before_it(room: str) -> None:
    allowed = {Path("stages", name) for name in ROOMS[: ROOMS.index(room) + 1]}
    for file in Path("stages", room).rglob("*.py"):
        assert {path.parent for path in list_imports(file)} <= allowed, file


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_other(command: str) -> None:
    assert Path("stages") not in {
        path.parent for path in list_imports(Path(f"stages/{command}.py"))
    }


@pytest.mark.parametrize("command", ["predict", "serve"])
def test_the_image_has_all_that_its_commands_import(command: str) -> None:
    lines = Path(".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = {Path(line[1:]) for line in lines if line.startswith("!")}
    for file in list_all_imports(Path(f"stages/{command}.py")):
        assert taken & {file, *file.parents}, file


# dvc.yaml: DVC reruns a stage only for what it was told of


def test_each_stage_runs_the_module_of_its_name() -> None:
    commands = {stage: definition["cmd"] for stage, definition in PIPELINE["stages"].items()}
    assert commands == {stage: f"python -m stages.{stage}" for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_every_import_of_a_stage_lies_under_a_dep(stage: str) -> None:
    """DVC does not look at imports itself: treeverse/dvc#9195 is open."""
    deps = PIPELINE["stages"][stage]["deps"]
    code = {Path(dep) for dep in deps if dep.startswith("stages/")}
    used = list_all_imports(Path(f"stages/{stage}.py"))
    assert all(code & {module, *module.parents} for module in used)
    assert all(any(dep in (module, *module.parents) for module in used) for dep in code)
    assert "requirements.txt" in deps
    # a change of how tables are scored reruns nothing
    assert not code & {Path("stages/predictor"), Path("stages/predictor/scoring.py")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_section_that_it_reads(stage: str) -> None:
    code = Path(f"stages/{stage}.py").read_text(encoding="utf-8")
    declared = PIPELINE["stages"][stage].get("params", [])
    assert declared == ([stage] if f"params.read().{stage}" in code else [])


@pytest.mark.parametrize("stage", STAGES)
def test_what_git_keeps_is_a_metric_or_a_plot_and_dvc_caches_the_rest(stage: str) -> None:
    """Another output without a cache, or one that persists, would switch off the run cache."""
    definition = PIPELINE["stages"][stage]
    cached, kept = definition.get("outs", []), dict[str, Any]()
    for entry in definition.get("metrics", []) + definition.get("plots", []):
        kept |= entry
    for path in (*cached, *kept):
        in_git = run("git", "check-ignore", "-q", path, cwd=Path()).returncode == 1
        assert in_git == (path in kept)
        assert in_git == (path.startswith("reports/") or path == PREDICTOR.as_posix())
    assert all(options["cache"] is False for options in kept.values())
    assert "persist" not in str(definition)


def test_git_keeps_a_table_as_it_is() -> None:
    # or a file with CRLF ends would be another one to DVC in every clone
    table = "data/raw/no one has this name.csv"
    attribute = succeed("git", "check-attr", "text", table, cwd=Path())
    assert attribute == f"{table}: text: unset\n"
