"""Rehearse small workflows in small repositories."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

REHEARSE = Path(".ci/rehearse.py").resolve()
JOBS = """\
defaults: {run: {shell: bash}}
jobs:
"""
JOB = """\
  one:
    steps:
      - {uses: actions/checkout@0, with: {}}
"""
TWO_JOBS = """
one:
  steps:
    - {uses: actions/checkout@0, with: {}}
    - {uses: actions/setup-python@0, with: {python-version: "3"}}
    - {uses: actions/cache@0, with: {path: data/cache, key: table}}
    - run: |
        test -f committed
        test -f data/cache/table
        test ! -e uncommitted
        mkdir -p models/deep
        touch models/deep/model models/.hidden report other
    - {uses: actions/upload-artifact@0, with: {name: made, path: "models\\nreport"}}
    - {uses: docker/login-action@0, if: never, with: {username: a}}
two:
  needs: one
  steps:
    - {uses: actions/checkout@0, with: {}}
    - {uses: actions/download-artifact@0, with: {name: made}}
    - run: |
        test -f models/deep/model
        test -f report
        test ! -e models/.hidden
        test ! -e other
        test ! -e data
        test "$CI" = true
        test -z "${VIRTUAL_ENV-}${PYTHONPATH-}"
        test -z "$(command -v tool-of-the-environment)"
        echo all there
"""


def rehearse(folder: Path, workflow: str) -> subprocess.CompletedProcess[str]:
    """Commit the workflow and a file, and rehearse it with a cache of one file."""
    tool = folder / "environment/bin/tool-of-the-environment"
    tool.parent.mkdir(parents=True)
    tool.touch(0o755)
    active = {"VIRTUAL_ENV": str(folder / "environment"), "PYTHONPATH": "."}
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    (folder / "cache").mkdir()
    (folder / "cache/table").touch()
    repository = folder / "repository"
    (repository / ".github/workflows").mkdir(parents=True)
    (repository / ".github/workflows/ci.yml").write_text(workflow, encoding="utf-8")
    (repository / "committed").touch()
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for command in (("init", "-q"), ("add", "-A"), (*author, "commit", "-q", "-m", "all")):
        subprocess.run(["git", *command], cwd=repository, check=True)
    (repository / "uncommitted").touch()
    return subprocess.run(
        [sys.executable, str(REHEARSE), "../cache"],
        cwd=repository,
        env=os.environ | active | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_what_is_committed_cached_and_uploaded_is_there(tmp_path: Path) -> None:
    workflow = JOBS + indent(TWO_JOBS, "  ")
    done = rehearse(tmp_path, workflow)
    assert done.returncode == 0, done.stderr
    assert "docker/login-action@0\nskipped" in done.stdout
    assert "all there" in done.stdout


@pytest.mark.parametrize("command", ["(exit 3); true", "(exit 3) | true"])
def test_it_stops_at_a_step_that_fails_and_names_it(command: str, tmp_path: Path) -> None:
    steps = f"      - {{name: Fail, run: {command!r}}}\n      - run: echo never seen\n"
    done = rehearse(tmp_path, JOBS + JOB + steps)
    assert done.returncode == 1
    assert done.stderr == "rehearse: one: Fail: exited with 3\n"
    assert "never seen" not in done.stdout


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{run: a, if: b}", "cannot rehearse if"),
        ("{run: a, env: {b: c}, shell: sh}", "cannot rehearse env, shell"),
        ("{run: 'a ${{ b }}'}", "cannot rehearse an expression"),
        ("{uses: actions/cache@0, if: a, with: {path: b}}", "cannot rehearse if"),
        ("{uses: actions/download-artifact@0, with: {path: a}}", "cannot rehearse path"),
        ("{uses: actions/setup-python@0, with: {python-version: '2.7'}}", "exited with 1"),
        ('{uses: actions/upload-artifact@0, with: {name: a, path: "b\\nc"}}', "b is missing"),
        ("{uses: actions/upload-artifact@0, with: {name: a, path: b}}", "would drop the folder"),
        ("{uses: actions/download-artifact@0, with: {name: a}}", "a is missing"),
    ],
)
def test_what_would_differ_on_github_is_an_error(step: str, message: str, tmp_path: Path) -> None:
    done = rehearse(tmp_path, f"{JOBS}{JOB}      - {step}\n")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        (JOBS + JOB + "    env: {}\n    strategy: {}\n", "cannot rehearse env, strategy"),
        ("env: {}\n" + JOBS + JOB, "cannot rehearse env"),
        (JOBS.replace("bash", "sh") + JOB, "another shell than bash"),
    ],
)
def test_an_unknown_key_is_an_error(workflow: str, message: str, tmp_path: Path) -> None:
    done = rehearse(tmp_path, workflow)
    assert done.returncode == 1
    assert message in done.stderr
