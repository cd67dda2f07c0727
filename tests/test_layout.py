"""Hold the code to its layout: files are commands, folders are rooms, arrows go one way."""

from pathlib import Path

import pytest

from tests.conftest import all_imported, imported

COMMANDS = {"load", "train", "quantize", "evaluate", "predict", "serve", "gate", "report", "start"}
# each may use those before
ROOMS = ("project", "columns", "tables", "regression", "quantizer", "predictor")


def test_files_are_commands_and_folders_are_rooms() -> None:
    assert {path.stem for path in Path("stages").glob("*.py")} == COMMANDS
    folders = {path.parent for path in Path("stages").rglob("*/*.py")}
    assert {str(folder.relative_to("stages")) for folder in folders} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_the_rooms_before_it(room: str) -> None:
    allowed = {Path("stages", name) for name in ROOMS[: ROOMS.index(room) + 1]}
    for file in Path("stages", room).glob("*.py"):
        assert {path.parent for path in imported(file)} <= allowed, file


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_other(command: str) -> None:
    assert Path("stages") not in {path.parent for path in imported(Path(f"stages/{command}.py"))}


def test_the_tests_have_the_same_rooms() -> None:
    folders = {path.parent for path in Path("tests").rglob("*/test_*.py")}
    assert {str(folder.relative_to("tests")) for folder in folders} <= {
        *ROOMS,
        *COMMANDS,
        "california",
    }
    for file in Path("tests").rglob("*.py"):
        assert "from tests.test_" not in file.read_text(encoding="utf-8").replace('"from tests', "")


@pytest.mark.parametrize("command", ["predict", "serve"])
def test_the_image_has_all_that_its_commands_import(command: str) -> None:
    lines = Path(".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = {Path(line[1:]) for line in lines if line.startswith("!")}
    for file in all_imported(Path(f"stages/{command}.py")):
        assert taken & {file, *file.parents}, file
