import io
import time

import pytest

from stages.project import cli


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.monotonic()
    for stderr, began, drawn in (
        (io.StringIO(), now - 60, ""),
        (Terminal(), now + 60, ""),
        (Terminal(), now - 60, f"\r\x1b[K[{'#' * 20:40}]  50 %\r\x1b[K"),
    ):
        monkeypatch.setattr("sys.stderr", stderr)
        cli.progress(0.5, began)
        cli.progress(1, began)
        assert stderr.getvalue() == drawn
