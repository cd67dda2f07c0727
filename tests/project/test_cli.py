"""How a command ends: its exit code, and one line for a mistake."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.project import cli
from stages.project.cli import InputError


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in cli.SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a\n b"), 2, "toy: a b\n"),
        (InputError("x" * 5000), 2, f"toy: {'x' * 995}…\n"),
        (MemoryError(), 2, "toy: not enough memory\n"),
        (PermissionError(13, "Permission denied", "f.csv"), 2, "toy: f.csv: Permission denied\n"),
        (BrokenPipeError(), 0, ""),
        (SystemExit(1), 1, ""),
    ],
)
def test_an_error_is_a_code_and_a_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as done:
        cli.finish(fail, "toy")
    assert done.value.code == code
    assert capsys.readouterr() == ("", line)


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.finish(lambda: str(1 / 0), "toy")


@pytest.mark.parametrize("signum", cli.SIGNALS)
def test_a_signal_lets_a_command_tidy_up(signum: signal.Signals, tmp_path: Path) -> None:
    # whatever a library makes of the exception, and however often the signal comes
    code = f"""if True:
        import signal
        from pathlib import Path
        from stages.project import cli, files
        signal.signal({signum}, signal.SIG_DFL)  # which nohup would have ignored
        def main():
            with files.replacing(Path({str(tmp_path / "out")!r})):
                try:
                    signal.raise_signal({signum})
                finally:
                    signal.raise_signal({signum})
                    raise RuntimeError
        cli.finish(main, "toy")"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signum, "", "")
    assert not list(tmp_path.iterdir())
