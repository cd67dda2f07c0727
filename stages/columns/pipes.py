"""Pipes: one that is read is stored first, one that is written to is fed by a thread.

DuckDB opens files by name. `/dev/fd/N` is a name for anything that is open.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stages.project.cli import InputError

CHUNK = 1 << 16
IN_MEMORY = 1 << 26  # bytes that are kept in memory where there is no temporary folder


@contextmanager
def stored(pipe: int, name: str) -> Iterator[int]:
    """Yield a file that holds what comes through `pipe`, so that it can be read twice."""
    limit = None
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:
        file = os.fdopen(os.memfd_create("predict"), "w+b")
        limit = IN_MEMORY
    os.set_blocking(pipe, True)
    with file, os.fdopen(pipe, "rb", closefd=False) as content:
        while chunk := content.read(CHUNK):
            try:
                file.write(chunk)
            except OSError as error:
                folder = tempfile.gettempdir()
                raise InputError(
                    f"{name} cannot be stored in {folder}: {error.strerror}; give it as a FILE"
                ) from error
            if limit and file.tell() > limit:
                raise InputError(
                    f"{name} is longer than {limit >> 20} MB, and there is no folder for temporary"
                    " files; give it as a FILE"
                )
        file.flush()
        yield file.fileno()


@contextmanager
def pumped(target: int) -> Iterator[str]:
    """Yield the name of a pipe whose content a thread writes to the open file `target`.

    If nobody reads `target` any more, this is a BrokenPipeError, and any other failure of it an
    InputError.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(target, True)
    failures: list[OSError] = []

    def pump() -> None:
        try:
            with (
                os.fdopen(read_end, "rb", buffering=0) as pipe,
                os.fdopen(target, "wb", closefd=False) as output,
            ):
                shutil.copyfileobj(pipe, output, CHUNK)
        except OSError as error:  # closing the pipe stops DuckDB
            failures.append(error)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    patience: float | None = 1  # seconds: after an error DuckDB may still hold its end
    try:
        yield f"/dev/fd/{write_end}"
        patience = None
    finally:
        os.close(write_end)
        thread.join(patience)
        for failure in failures:
            if isinstance(failure, BrokenPipeError):
                raise failure
            raise InputError(f"output cannot be written: {failure.strerror}") from failure
