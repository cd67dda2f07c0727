"""Rehearse `.github/workflows/ci.yml`, as of the last commit: run its steps job by job.

    python .ci/rehearse.py FOLDER

Each job has a fresh clone, the table from FOLDER, which takes the place of actions/cache, and of
the files of the jobs before it what they uploaded: a step that needs anything else fails here too.
Other actions are named and skipped; whatever else is not understood is an error.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

WORKFLOW = ".github/workflows/ci.yml"
# what a workflow, a job and a step may have; `on` is True in YAML 1.1
KEYS_OF_WORKFLOW = ("name", True, "permissions", "concurrency", "defaults", "jobs")
KEYS_OF_JOB = ("needs", "runs-on", "timeout-minutes", "steps")
KEYS_OF_STEP = ("name", "run", "uses", "with")
INPUTS = {
    "run": (),
    "actions/checkout": ("fetch-depth", "persist-credentials"),
    "actions/setup-python": ("python-version",),
    "actions/cache": ("path", "key"),
    "actions/upload-artifact": ("name", "path", "if-no-files-found"),
    "actions/download-artifact": ("name",),
}


class StepError(Exception):
    """A step failed, or cannot be rehearsed."""


def only(known: Iterable[object], node: Mapping[Any, Any]) -> None:
    """Refuse what would be ignored."""
    if unknown := node.keys() - set(known):
        raise StepError(f"cannot rehearse {', '.join(sorted(map(str, unknown)))}")


def run(script: str, clone: Path) -> None:
    """Run a script as GitHub's `shell: bash` does, and outside of any Python environment."""
    own = str(Path(os.environ.get("VIRTUAL_ENV", "none"), "bin"))
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != own)
    hidden = ("PYTHON", "VIRTUAL_ENV", "SCIKIT_LEARN_DATA")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=clone,
        env=kept | {"CI": "true", "PATH": path},
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise StepError(f"exited with {done.returncode}")


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without its hidden files, which an upload leaves out."""
    if not source.exists():
        raise StepError(f"{source} is missing")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def perform(step: Mapping[str, Any], clone: Path, cache: Path, artifacts: Path) -> None:
    """Do in `clone` what a step does there."""
    action = step.get("uses", "run").partition("@")[0]
    if action not in INPUTS:
        print("skipped: not for this machine", flush=True)
        return
    only(KEYS_OF_STEP, step)
    inputs = step.get("with", {})
    only(INPUTS[action], inputs)
    match action:
        case "run":
            if "${{" in step["run"]:
                raise StepError("cannot rehearse an expression")
            run(step["run"], clone)
        case "actions/checkout":
            depth = inputs.get("fetch-depth", 1)
            run(f"git clone -q --depth {depth} 'file://{Path.cwd()}' .", clone)
        case "actions/setup-python":
            run(f"python3 --version | grep -F 'Python {inputs['python-version']}.'", clone)
        case "actions/cache":
            copy(cache, clone / inputs["path"])
        case "actions/upload-artifact":
            paths = inputs["path"].split()
            if len({Path(path).parts[0] for path in paths}) == 1:
                raise StepError("GitHub would drop the folder that all paths have in common")
            for path in paths:
                copy(clone / path, artifacts / inputs["name"] / path)
        case "actions/download-artifact":
            copy(artifacts / inputs["name"], clone)


def rehearse(cache: Path) -> None:
    """Rehearse the workflow of the repository in the working directory.

    Raises
    ------
    StepError
        A step failed, or the workflow has something that this does not understand.
    """
    show = ("git", "show", f"HEAD:{WORKFLOW}")
    workflow = yaml.safe_load(subprocess.run(show, capture_output=True, check=True).stdout)
    only(KEYS_OF_WORKFLOW, workflow)
    if workflow["defaults"] != {"run": {"shell": "bash"}}:
        raise StepError("cannot rehearse another shell than bash")
    with tempfile.TemporaryDirectory() as artifacts:
        for name, job in workflow["jobs"].items():
            only(KEYS_OF_JOB, job)
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as clone:
                for step in job["steps"]:
                    title = f"{name}: {step.get('name') or step.get('uses')}"
                    print(f"\n== {title}", flush=True)
                    try:
                        perform(step, Path(clone), cache, Path(artifacts))
                    except StepError as error:
                        raise StepError(f"{title}: {error}") from error
            print(f"\n== {name} took {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        rehearse(Path(sys.argv[1]))
    except StepError as error:
        sys.exit(f"rehearse: {error}")
