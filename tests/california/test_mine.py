"""README's steps make the repository somebody's own, and leave nothing of the example."""

import re
from pathlib import Path

import pytest

from tests.cars import cars, write
from tests.conftest import COMMIT, copy_checkout, run, succeed

pytestmark = pytest.mark.slow
README = Path("README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Make it yours\n")[2].partition("\n## ")[0]
[STEPS] = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", SECTION, re.S | re.M)]
# of what remains; other tests take longer
QUICK = "tests/test_layout.py", "tests/test_workflow.py", "tests/test_gate.py"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the cars a project, by the commands of README."""
    folder = copy_checkout(tmp_path_factory.mktemp("mine"))
    for command in COMMIT:
        succeed(*command.split(), cwd=folder)
    write(cars(600), path=folder / "data/raw/cars.csv")
    for step in STEPS:
        made = step.replace("FILE.csv", "cars.csv").replace("COLUMN", "price")
        succeed("bash", "-c", made, cwd=folder)
    return folder


def test_there_are_as_many_steps_as_lines_that_tell_of_them() -> None:
    assert len(STEPS) == len(re.findall(r"^\d\. ", SECTION, re.M)) == 5


def test_nothing_of_the_example_is_left_but_the_licence(mine: Path) -> None:
    words = "california|medhouseval|housing|cali-reg|medinc|houseage|ave(rooms|bedrms|occup)"
    found = run("git", "grep", "-ilE", words, cwd=mine).stdout.splitlines()
    assert {*found} <= {"LICENSE"}
    assert not re.search(words, succeed("git", "ls-files", cwd=mine), re.I)
    assert succeed("git", "status", "--porcelain", cwd=mine) == ""


def test_what_remains_refers_to_files_that_remain(mine: Path) -> None:
    for page in (mine / "README.md", mine / ".github/CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target


def test_the_page_and_the_card_name_the_target(mine: Path) -> None:
    [title] = re.findall("<title>(.*)</title>", (mine / "reports/model.html").read_text("utf-8"))
    assert "price" in title
    [heading, *_] = re.findall("^# (.*)$", (mine / "README.md").read_text("utf-8"), re.M)
    assert "price" in heading


def test_the_job_of_ci_that_makes_the_model_is_green(mine: Path) -> None:
    script = (mine / ".ci/train_and_quantize").read_text(encoding="utf-8").partition("\nset -x\n")
    commands = re.findall(r"^(?:dvc|git|python -m stages).*$", script[2], re.M)
    assert len(commands) == 5
    for command in commands:
        succeed(*command.split(), cwd=mine)


def test_the_tests_that_remain_are_collected_and_quick_ones_pass(mine: Path) -> None:
    pytest_ = ("python", "-m", "pytest", "-q")
    every = succeed(*pytest_, "--collect-only", "-m", "slow or not slow", cwd=mine)
    assert "california" not in every
    assert "passed" in succeed(*pytest_, *QUICK, cwd=mine)
    made = succeed(*pytest_, "tests/test_report.py", "-m", "slow", "-k", "committed", cwd=mine)
    assert "1 passed" in made
