"""Pipes: one that is read is stored first, one that is written to is fed by a thread.

DuckDB opens files by name. `/dev/fd/N` is a name for anything that is open.
"""

import os
import select
import tempfile
import threading
from collections.abc import Iterator, Sequence
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
        file = open(os.memfd_create("predict"), "w+b")  # noqa: PTH123, SIM115
        limit = IN_MEMORY
    with file:
        while chunk := _read(pipe):
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

    Raises
    ------
    BrokenPipeError
        Nobody reads `target` any more.
    InputError
        It cannot be written to for another reason.
    """
    read_end, write_end = os.pipe()
    failures: list[OSError] = []

    def pump() -> None:
        with open(read_end, "rb", buffering=0) as pipe:  # noqa: PTH123
            try:
                while chunk := pipe.read(CHUNK):
                    _write(target, chunk)
            except OSError as error:  # closing the pipe stops DuckDB
                failures.append(error)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield f"/dev/fd/{write_end}"
    except Exception:
        os.close(write_end)
        thread.join(timeout=1)  # DuckDB may still hold its end
        _raise_first(failures)
        raise
    os.close(write_end)
    thread.join()
    _raise_first(failures)


def _raise_first(failures: Sequence[OSError]) -> None:
    """Raise the first write failure; a closed reader stays BrokenPipeError."""
    for failure in failures:
        if isinstance(failure, BrokenPipeError):
            raise failure
        raise InputError(f"output cannot be written: {failure.strerror}") from failure


def _read(pipe: int) -> bytes:
    """Read a chunk, also from a pipe that is set not to wait."""
    while True:
        try:
            return os.read(pipe, CHUNK)
        except BlockingIOError:
            select.select([pipe], [], [])


def _write(target: int, data: bytes) -> None:
    """Write all of `data`, which a pipe or a signal can make take several calls."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # it is set not to wait
            select.select([], [target], [])
