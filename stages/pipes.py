"""Pipes between DuckDB and a stream, each with a thread at its other end.

DuckDB opens files by name. `/dev/fd/N` is a name for anything that is open, so it can also read
what has begun to be read, and write behind a header.
"""

import os
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.cli import InputError

CHUNK = 1 << 16
IN_MEMORY = 1 << 26  # bytes that are kept in memory where there is no temporary file


@contextmanager
def fed(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield a pipe into which a thread writes the `chunks`."""
    read_end, write_end = os.pipe()
    failures: list[Exception] = []

    def feed() -> None:
        with open(write_end, "wb", buffering=0) as pipe:  # noqa: PTH123
            try:
                for chunk in chunks:
                    view = memoryview(chunk)
                    while view:
                        view = view[pipe.write(view) :]
            except BrokenPipeError:
                pass  # DuckDB has read enough
            except (OSError, zlib.error) as error:
                failures.append(error)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield f"/dev/fd/{read_end}"
    finally:
        os.close(read_end)
        thread.join(timeout=1)
        if failures:
            raise InputError(f"{name} is damaged: {failures[0]}")


@contextmanager
def stored(chunks: Iterable[bytes], name: str) -> Iterator[int]:
    """Yield a file that holds the `chunks`."""
    limit = None
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:
        file = open(os.memfd_create("predict"), "w+b")  # noqa: PTH123, SIM115
        limit = IN_MEMORY
    with file:
        for chunk in chunks:
            file.write(chunk)
            if limit and file.tell() > limit:
                raise InputError(
                    f"{name} is Parquet or JSON from a pipe, more than {limit >> 20} MB, and there"
                    " is no folder for temporary files; give it as a FILE"
                )
        file.flush()
        yield file.fileno()


@contextmanager
def relayed(target: int, first: bytes, hold: int) -> Iterator[Path]:
    """Yield a pipe whose content a thread writes to the open file `target`, after `first`.

    It begins once it has more than `hold` bytes, or when the block has succeeded.
    """
    read_end, write_end = os.pipe()
    held = [first]
    failures: list[OSError] = []

    def relay() -> None:
        size = len(first)
        with open(read_end, "rb", buffering=0) as pipe:  # noqa: PTH123
            try:
                while chunk := pipe.read(CHUNK):
                    held.append(chunk)
                    size += len(chunk)
                    if size > hold:
                        write(target, b"".join(held))
                        held.clear()
            except OSError as error:  # closing the pipe stops DuckDB
                failures.append(error)

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield Path(f"/dev/fd/{write_end}")
    except Exception:
        os.close(write_end)
        thread.join(timeout=1)
        refuse(failures)
        raise
    os.close(write_end)
    thread.join()
    refuse(failures)
    try:
        write(target, b"".join(held))
    except OSError as error:
        refuse([error])


def write(target: int, data: bytes) -> None:
    """Write all of `data`, which a pipe or a signal can make take several calls."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def refuse(failures: Sequence[OSError]) -> None:
    """Raise the first of the `failures` to write; that nobody reads any more is not one of ours."""
    for failure in failures:
        if isinstance(failure, BrokenPipeError):
            raise failure
        raise InputError(f"output cannot be written: {failure.strerror}") from failure
