"""Run a stage from the command line: `--help`, and one line on stderr for a user's mistake."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, where and what is allowed."""


def run(main: Callable[[], None], doc: str | None) -> NoReturn:
    """Run `main` as the stage whose docstring is `doc`, which takes no arguments."""
    stage = Path(sys.argv[0]).stem
    argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=doc).parse_args()
    finish(main, stage)


def finish(main: Callable[[], None], name: str) -> NoReturn:
    """Run `main` as the program `name`.

    Exits with 0 when done, or when nobody reads standard output any more, and with 2 for bad
    input, with 130 when interrupted. A defect of ours keeps its traceback.
    """
    status = 0
    try:
        main()
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)  # threads that are at work would not let Python end
    except (InputError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        status = 2
        _drop_output()
    sys.exit(status)


def _drop_output() -> None:
    """Spare Python the attempt to write, as it exits, what could not be written before."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
