from pathlib import Path

import pytest

from stages.project import files
from stages.project.cli import InputError


def contents(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


@pytest.mark.parametrize("name", ["file", "folder/file"])
@pytest.mark.parametrize("before", [[], ["file"], ["folder/file", "folder/more"]])
def test_a_file_or_folder_is_replaced_as_a_whole_or_stays(
    name: str, before: list[str], tmp_path: Path
) -> None:
    for old in before:
        (tmp_path / old).parent.mkdir(exist_ok=True)
        (tmp_path / old).write_text("old")
    top, _, below = name.partition("/")

    def write(text: str, error: type[BaseException] | None = None) -> None:
        with files.replacing(tmp_path / top) as part:
            if below:
                part.mkdir()
            (part / below).write_text(text)
            if error:
                raise error

    with pytest.raises(KeyboardInterrupt):
        write("half", KeyboardInterrupt)
    assert contents(tmp_path) == dict.fromkeys(before, "old")
    write("whole")
    others = [old for old in before if not old.startswith(top)]
    assert contents(tmp_path) == dict.fromkeys(others, "old") | {name: "whole"}


def test_a_temporary_folder_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    with files.temporary_folder(tmp_path / "new") as folder:
        (folder / "below").mkdir()
        (folder / "below/file").touch()
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


def test_json_keeps_the_order_of_keys_and_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    files.save_json({"b": 1, "a": {"é": 0.1}}, path)
    written = '{\n  "b": 1,\n  "a": {\n    "é": 0.1\n  }\n}\n'.encode()
    assert path.read_bytes() == written
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.save_json({"b": float("nan")}, path)
    assert path.read_bytes() == written


def test_csv_is_quoted_where_it_must_be(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    files.save_csv(("a,b", "c"), [(0.1, "x"), (1e-7, 'a "é" c')], path)
    assert path.read_bytes() == '"a,b",c\n0.1,x\n1e-07,"a ""é"" c"\n'.encode()


@pytest.mark.parametrize("content", [b"", b"junk", b"[]", b"{}", None])
def test_a_missing_or_damaged_file_says_what_makes_it(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"file\.json .*`dvc repro` makes it"), files.reading(path):
        files.load_json(path, dict[str, int])["a"]
