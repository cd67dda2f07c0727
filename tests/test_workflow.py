"""Hold the workflow to what its linters do not know; zizmor knows of rights and pins."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import change, run

CONTRIBUTING = Path(".github/CONTRIBUTING.md").read_text(encoding="utf-8")
REHEARSAL = Path(".ci/run").read_text(encoding="utf-8")
TEXT = Path(".github/workflows/ci.yml").read_text(encoding="utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS: list[dict[str, Any]] = [step for job in JOBS.values() for step in job["steps"]]


def find(action: str) -> list[dict[str, Any]]:
    return [step for step in STEPS if step.get("uses", "").startswith(f"{action}@")]


def inputs(action: str) -> list[dict[str, Any]]:
    return [step["with"] for step in find(action)]


def test_the_jobs_have_the_names_of_the_assignment_and_run_in_sequence() -> None:
    assert [*JOBS] == ["test_suite", "train_and_quantize", "build_and_test_container"]
    assert [job.get("needs") for job in JOBS.values()] == [None, *list(JOBS)[:-1]]
    assert all(job["timeout-minutes"] <= 20 for job in JOBS.values())


def test_the_rehearsal_runs_the_scripts_of_the_jobs_and_hands_on_what_they_upload() -> None:
    assert {*re.findall(r"^job \w+ (\w+)", REHEARSAL, re.M)} == {*JOBS}
    for name, job in JOBS.items():
        command = next(step["run"] for step in job["steps"] if "run" in step)
        assert command.split()[0] == f".ci/{name}"
    [artifact] = inputs("actions/upload-artifact")
    assert f"cp -r --parents {' '.join(artifact['path'].split())} " in REHEARSAL


def test_every_platform_makes_the_same_bytes_and_one_uploads_them() -> None:
    strategy = JOBS["train_and_quantize"]["strategy"]
    assert strategy["fail-fast"] is False
    assert {re.split(r"-\d+", os)[0] for os in strategy["matrix"]["os"]} == {
        *("ubuntu", "macos", "windows")
    }
    [upload] = find("actions/upload-artifact")
    assert upload["if"] == f"matrix.os == '{strategy['matrix']['os'][0]}'"


def test_what_is_downloaded_is_cached_unless_there_is_a_table_of_one_s_own() -> None:
    ignored = Path(".gitignore").read_text(encoding="utf-8").splitlines()
    cached = find("actions/cache")
    assert len(cached) == 2
    for step in cached:
        assert step["if"] == "hashFiles('data/raw/**', '!data/raw/.gitkeep') == ''"
        assert f"/{step['with']['path']}/" in ignored
        [pattern] = re.findall(r"hashFiles\('(.+)'\)", step["with"]["key"])
        assert [*Path().glob(pattern)]


def test_ci_runs_the_python_of_the_image_the_oldest_and_windows() -> None:
    dockerfile = Path("Dockerfile").read_text(encoding="utf-8")
    project = Path("pyproject.toml").read_text(encoding="utf-8")
    [newest] = re.findall("^FROM python:([0-9.]+)-", dockerfile, re.M)
    [oldest] = re.findall('^requires-python = ">=(.+)"', project, re.M)
    legs = JOBS["test_suite"]["strategy"]["matrix"]["include"]
    assert {(leg["os"].split("-")[0], leg["python"]) for leg in legs} == {
        *(("ubuntu", newest), ("ubuntu", oldest), ("windows", newest))
    }
    given = [each["python-version"] for each in inputs("actions/setup-python")]
    assert given == ["${{ matrix.python }}", newest, newest]


def test_only_what_is_tested_is_pushed_and_only_from_main() -> None:
    assert WORKFLOW[True]["push"] == {"branches": ["main"]}  # `on`, in YAML 1.1
    steps = JOBS["build_and_test_container"]["steps"]
    login, *rest = last = [step for step in steps if "if" in step]
    assert steps[-len(last) :] == last
    assert login["if"] == "github.event_name == 'push' && vars.DOCKERHUB_USERNAME != ''"
    assert {step["if"] for step in rest} == {f"steps.{login['id']}.outcome == 'success'"}
    assert all(f"`{name}`" in CONTRIBUTING for name in re.findall(r"(?:vars|secrets)\.(\w+)", TEXT))
    assert "secrets." not in TEXT.replace(login["with"]["password"], "")
    given = rest[-1]["with"]
    assert {tag.rpartition(":")[0] for tag in given["tags"].replace(" ", "").split()} == {
        "${{vars.DOCKERHUB_USERNAME}}/${{steps.commit.outputs.name}}"
    }
    arguments = re.findall("^ARG (.+)=", Path("Dockerfile").read_text(encoding="utf-8"), re.M)
    assert re.findall(r"^(\w+)=", given["build-args"], re.M) == arguments
    assert (given["context"], given["provenance"], given["sbom"]) == (".", "mode=max", True)


@pytest.mark.slow
def test_the_summary_says_what_changed(checkout: Path) -> None:
    alone = run(".ci/summary", cwd=checkout)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.count("Nothing changed.") == 2

    change(checkout, "bits: 8", "bits: 4")
    assert run("dvc", "repro", cwd=checkout).returncode == 0
    run("git", "commit", "-q", "-a", "-m", "4 bits", cwd=checkout)
    text = run(".ci/summary", cwd=checkout).stdout
    assert re.search(r"\| params.yaml +\| quantize.bits +\| 8 +\| 4 +\|", text)
    assert re.search(r"\| payload_bits +\| \d+ +\| \d+ +\| -\d+ +\|", text)
