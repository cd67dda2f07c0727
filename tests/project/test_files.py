import json
from pathlib import Path

import pytest

from stages.project import files
from stages.project.cli import InputError
from stages.project.files import replacing, replacing_folder, temporary_folder


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("ne")
        assert path.read_text() == "old"
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_besides(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("before", [{}, {"table/a": "old", "table/b": "old"}])
def test_a_folder_is_replaced_as_a_whole(before: dict[str, str], tmp_path: Path) -> None:
    for name, text in before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def fail() -> None:
        with replacing_folder(tmp_path / "table") as part:
            (part / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert contents(tmp_path) == before
    with replacing_folder(tmp_path / "table") as part:
        (part / "a").write_text("new")
    assert contents(tmp_path) == {"table/a": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_a_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table/a").write_text("old")
    rename = Path.rename

    def fail(path: Path, target: Path) -> None:
        if path.name == "new":
            raise OSError("no")
        rename(path, target)

    def replace() -> None:
        with replacing_folder(tmp_path / "table") as part:
            (part / "a").write_text("new")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        replace()
    assert contents(tmp_path) == {"table/a": "old"}


def test_a_link_to_nowhere_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "table").symlink_to("nowhere")
    with replacing_folder(tmp_path / "table") as part:
        (part / "a").write_text("new")
    assert contents(tmp_path) == {"table/a": "new"}


def test_a_temporary_folder_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "new") as folder:
        (folder / "below").mkdir()
        (folder / "below/file").touch()
    assert list(tmp_path.rglob("*")) == [tmp_path / "new"]


def test_json_keeps_the_order_of_keys_and_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    files.save_json({"b": 1, "a": {"é": 0.1}}, path)
    assert path.read_bytes() == '{\n  "b": 1,\n  "a": {\n    "é": 0.1\n  }\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.save_json({"b": float("nan")}, path)
    assert json.loads(path.read_bytes())["b"] == 1


def test_csv_is_quoted_where_it_must_be(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    files.save_csv(("a,b", "c"), [(0.1, "x"), (1e-7, 'a "é" c')], path)
    assert path.read_bytes() == '"a,b",c\n0.1,x\n1e-07,"a ""é"" c"\n'.encode()


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x05"])
def test_a_damaged_pickle_says_what_makes_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model.joblib is damaged, `dvc repro` makes it"):
        files.load_joblib(path)
