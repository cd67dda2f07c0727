"""Hold dvc.yaml to the code: DVC reruns a stage only for what it was told of."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.project.files import PREDICTOR
from tests.conftest import all_imported, run

STAGES = ("load", "train", "quantize", "evaluate")
PIPELINE: dict[str, Any] = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))


def params_read(stage: str) -> set[str]:
    """Collect the keys `stage.key` that the stage and what it calls take from its section."""
    own = ast.parse(Path(f"stages/{stage}.py").read_text(encoding="utf-8"))
    if f"params.read().{stage}" not in ast.unparse(own):
        return set()
    keys = set()
    for module in all_imported(Path(f"stages/{stage}.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (
                "config",
                f"params.read().{stage}",
            ):
                keys.add("key" if node.attr == "keys" else node.attr)
    return {f"{stage}.{key}" for key in keys}


def paths(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_there_are_just_four_stages() -> None:
    assert tuple(PIPELINE["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_module_of_its_name(stage: str) -> None:
    assert PIPELINE["stages"][stage]["cmd"] == f"python -m stages.{stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_import_of_a_stage_lies_under_a_dep(stage: str) -> None:
    """DVC does not look at imports itself: treeverse/dvc#9195 is open."""
    deps = PIPELINE["stages"][stage]["deps"]
    code = {Path(dep) for dep in deps if dep.startswith("stages/")}
    used = all_imported(Path(f"stages/{stage}.py"))
    assert all(code & {module, *module.parents} for module in used)
    assert all(any(dep in (module, *module.parents) for module in used) for dep in code)
    assert "requirements.txt" in deps


def test_a_change_of_how_tables_are_scored_reruns_nothing() -> None:
    for stage in STAGES:
        assert "stages/predictor" not in PIPELINE["stages"][stage]["deps"]
        assert Path("stages/predictor/scoring.py") not in all_imported(Path(f"stages/{stage}.py"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage: str) -> None:
    declared = PIPELINE["stages"][stage].get("params", [])
    assert declared == ([stage] if params_read(stage) else [])
    if declared:  # all keys of the section are used
        keys = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))[stage]
        assert params_read(stage) == {f"{stage}.{key}" for key in keys}


@pytest.mark.parametrize("stage", STAGES)
def test_what_git_keeps_is_a_metric_or_a_plot_and_dvc_caches_the_rest(stage: str) -> None:
    """Another output without a cache, or one that persists, would switch off the run cache."""
    definition = PIPELINE["stages"][stage]
    kept = definition.get("metrics", []) + definition.get("plots", [])
    for path in paths(definition.get("outs", []) + kept):
        in_git = run("git", "check-ignore", "-q", path, cwd=Path()).returncode == 1
        assert in_git == (path.startswith("reports/") or path == "models/predictor.json")
        assert in_git == (path in paths(kept))
    assert all(isinstance(entry, str) for entry in definition.get("outs", []))
    for entry in kept:
        (options,) = entry.values()
        assert options["cache"] is False
        assert "persist" not in options


def test_the_predictor_is_an_artifact() -> None:
    assert PIPELINE["artifacts"]["predictor"]["path"] == str(PREDICTOR)


def test_git_keeps_a_table_as_it_is() -> None:
    # or a file with CRLF ends would be another one to DVC in every clone
    table = "data/raw/no one has this name.csv"
    attribute = run("git", "check-attr", "text", table, cwd=Path())
    assert attribute.stdout == f"{table}: text: unset\n"
    # and DVC overlooks the .dvc files of a folder that git ignores
    assert run("git", "check-ignore", "-q", table, cwd=Path()).returncode == 1


def test_the_lock_is_of_this_code() -> None:
    status = json.loads(run("dvc", "status", "--json", cwd=Path()).stdout)
    for stage, changes in status.items():
        for change in changes:
            for path in change.get("changed deps", {}) if isinstance(change, dict) else ():
                assert not path.startswith(("stages/", "requirements")), f"{stage}: run dvc repro"


def test_every_plot_has_a_title_and_its_columns() -> None:
    for stage in PIPELINE["stages"].values():
        for entry in stage.get("plots", []):
            ((path, options),) = entry.items()
            if path != "reports/scores.json":  # DVC draws nothing of it
                assert {"title", "template", "x", "y"} <= options.keys()
