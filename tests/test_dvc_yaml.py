"""Hold dvc.yaml to the code: DVC reruns a stage only for what it was told of."""

import ast
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import run

STAGES = ("load", "train", "quantize", "evaluate")
PIPELINE: dict[str, Any] = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))


def imported(module: str, seen: set[str]) -> set[str]:
    """Collect the files of all modules of `stages` that `module` imports, itself included."""
    if module in seen:
        return seen
    seen.add(module)
    for node in ast.walk(ast.parse(Path(f"stages/{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            stem = name.removeprefix("stages.")
            if name.startswith("stages.") and Path(f"stages/{stem}.py").exists():
                imported(stem, seen)
    return seen


def params_read(stage: str) -> set[str]:
    """Collect the keys `stage.key` that the stage takes from its section of the parameters."""
    tree = ast.parse(Path(f"stages/{stage}.py").read_text(encoding="utf-8"))
    sections = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == f"params.read().{stage}"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {
        f"{stage}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id in sections)
            or ast.unparse(node.value) == f"params.read().{stage}"
        )
    }


def paths(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_there_are_just_four_stages() -> None:
    assert tuple(PIPELINE["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_module_of_its_name(stage: str) -> None:
    assert PIPELINE["stages"][stage]["cmd"] == f"python -m stages.{stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_module_that_it_imports(stage: str) -> None:
    deps = PIPELINE["stages"][stage]["deps"]
    code = {dep for dep in deps if dep.startswith("stages/")}
    assert code == {f"stages/{module}.py" for module in imported(stage, set())}
    assert "requirements.txt" in deps


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage: str) -> None:
    assert set(PIPELINE["stages"][stage].get("params", [])) == params_read(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_makes_stays_when_it_fails(stage: str) -> None:
    definition = PIPELINE["stages"][stage]
    for entry in definition["outs"] + definition.get("metrics", []):
        ((path, options),) = entry.items()
        assert options["persist"] is True
        # reports are committed, for DVC to compare them in a clone without a remote
        assert options.get("cache", True) is not path.startswith("reports/")


def test_git_keeps_a_table_as_it_is() -> None:
    # or a file with CRLF ends would be another one to DVC in every clone
    attribute = run("git", "check-attr", "text", "data/raw/t.csv", cwd=Path())
    assert attribute.stdout == "data/raw/t.csv: text: unset\n"
    # and DVC overlooks the .dvc files of a folder that git ignores
    assert run("git", "check-ignore", "-q", "data/raw/t.csv", cwd=Path()).returncode == 1


def test_the_lock_is_of_this_code() -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    for stage in lock["stages"].values():
        for dep in stage["deps"]:
            if dep["path"].startswith(("stages/", "requirements.txt")):
                digest = hashlib.md5(Path(dep["path"]).read_bytes(), usedforsecurity=False)
                assert dep["md5"] == digest.hexdigest(), f"{dep['path']}: run dvc repro"


def test_every_plot_has_its_data_from_a_stage_and_a_title() -> None:
    outs = {path for stage in PIPELINE["stages"].values() for path in paths(stage["outs"])}
    for plot in PIPELINE["plots"]:
        ((_, options),) = plot.items()
        assert options["title"]
        assert options["x_label"]
        assert options["y_label"]
        assert {*options["x"], *options["y"]} <= outs
