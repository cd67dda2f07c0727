"""The frame of every command: `--help`, signals, exit codes, and one line on stderr for a mistake.

Exit code 0 is done, 1 a command's own 'no', 2 bad input, 130 interrupted. A bug keeps its
traceback.
"""

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from stages.project.text import cut
from stages.project.typed import rules

PATIENCE = 2.0  # seconds before a progress bar is drawn
LONG = 10.0  # seconds, after which a stage says how long it took
MESSAGE = 1000  # characters of a message

pending: list[Callable[[], None]] = []  # what a signal must do before it ends the process


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, where and what is allowed."""


def parser(program: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the first paragraph of `doc` at the top of its help, others below."""
    summary, _, details = (doc or "").partition("\n\n")
    as_is = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(program, None, summary, details, formatter_class=as_is)


def run(main: Callable[[], str], doc: str | None, section: Any = None) -> NoReturn:
    """Run `main` as the command whose docstring is `doc`.

    `--help` lists the keys of `section`, the type of the parameters that it reads.
    """
    name = Path(sys.argv[0]).stem
    keys = rules(section) if section else {}
    lines = "".join(f"\n  {name}.{key}: {rule}" for key, rule in keys.items())
    details = f"\n\nparameters in params.yaml:{lines}" if lines else ""
    parser(f"python -m stages.{name}", f"{doc or ''}{details}").parse_args()
    finish(main, name)


def finish(main: Callable[[], str | None], name: str) -> NoReturn:
    """Run `main` as the program `name`, print the line that it returns, and exit with its code."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:  # as nohup has it
            signal.signal(signum, _interrupt)
    status = 0
    try:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as all files that we write
        began = time.monotonic()
        if summary := main():
            seconds = time.monotonic() - began
            print(f"{name}: {summary}" + (f", {seconds:.0f} s" if seconds > LONG else ""))
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # nobody reads standard output any more
    except (InputError, OSError, MemoryError, UnicodeEncodeError) as error:
        text = "not enough memory" if isinstance(error, MemoryError) else str(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            text = f"output cannot be written: {error.strerror}"
        say(cut(f"{name}: {' '.join(text.split())}", MESSAGE))
        status = 2
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # which exit must not meet again
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


@contextmanager
def requiring(group: str) -> Iterator[None]:
    """Make a missing package an `InputError` with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        install = f"`pip install -r requirements/{group}.txt`"
        raise InputError(f"the package {error.name} is missing: {install} installs it") from error


def say(message: str) -> None:
    """Print a message for people on stderr, if anybody listens there."""
    if sys.stderr:
        with suppress(OSError):
            print(message, file=sys.stderr, flush=True)


def progress(fraction: float, began: float) -> None:
    """Draw a progress bar on a terminal, once PATIENCE has passed since `began`; 1 erases it."""
    if sys.stderr and sys.stderr.isatty() and time.monotonic() - began > PATIENCE:
        bar = "" if fraction >= 1 else f"[{'#' * int(fraction * 40):40}] {100 * fraction:3.0f} %"
        print(f"\r\x1b[K{bar}", end="", file=sys.stderr, flush=True)


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 2,000 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@contextmanager
def ending(undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo` in the end, also when a signal ends the process."""
    pending.append(undo)
    try:
        yield
    finally:
        undo()
        pending.remove(undo)


def _interrupt(*_: object) -> NoReturn:
    """End the process: an exception could strike anywhere, and threads would go on working."""
    progress(1, 0)
    for undo in reversed(pending):
        undo()
    os._exit(128 + signal.SIGINT)
