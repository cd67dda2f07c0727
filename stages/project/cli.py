"""The frame of every command: `--help`, signals, exit codes, and one line on stderr for a mistake.

Exit code 0 is done, 1 a command's own 'no', 2 bad input, 128 and its number a signal: 130 for
Ctrl-C, 143 for SIGTERM. A bug keeps its traceback.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from stages.project.text import cut

MESSAGE = 1000  # characters of a message
# what ends a command; Windows has no SIGHUP
SIGNALS = [each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGHUP")]


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, where and what is allowed."""


def parser(program: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help begins with `doc`."""
    as_is = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(program, description=doc, formatter_class=as_is)


def run(main: Callable[[], str], doc: str | None) -> NoReturn:
    """Run `main` as the command whose docstring is `doc`; `--help` is its only option."""
    name = Path(sys.argv[0]).stem
    parser(f"python -m stages.{name}", doc).parse_args()
    finish(main, name)


def finish(main: Callable[[], str | None], name: str) -> NoReturn:
    """Run `main` as the program `name`, print the line that it returns, and exit with its code."""
    stopped: list[int] = []

    def stop(signum: int, _: object) -> None:
        if not stopped:  # a second signal must not end the tidying up
            stopped.append(signum)
            raise SystemExit(128 + signum)

    try:
        for signum in SIGNALS:
            if signal.getsignal(signum) != signal.SIG_IGN:  # as nohup has it
                signal.signal(signum, stop)
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as all files that we write
        if summary := main():
            print(f"{name}: {summary}")
        if sys.stdout:
            sys.stdout.flush()
        status = 0
    except BaseException as error:
        if not stopped and not isinstance(error, (InputError, OSError, MemoryError, UnicodeError)):
            raise
        # libraries may turn the exception of a signal into one of their own
        status = 128 + stopped[0] if stopped else _tell(error, name)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # which exit must not meet again
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def _tell(error: BaseException, name: str) -> int:
    """Say in one line what went wrong, and return the exit code."""
    text = str(error)
    if isinstance(error, BrokenPipeError):
        return 0  # nobody reads standard output any more
    if isinstance(error, MemoryError):
        text = "not enough memory"
    elif isinstance(error, OSError) and error.filename:
        text = f"{error.filename}: {error.strerror}"
    say(cut(f"{name}: {' '.join(text.split())}", MESSAGE))
    return 2


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


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 2,000 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
