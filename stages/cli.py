"""Run a stage from the command line: `--help`, and one line on stderr for a user's mistake."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, where and what is allowed."""


def run(main: Callable[[], None], doc: str | None) -> NoReturn:
    """Run `main` as the stage whose docstring is `doc`.

    Exits with 0 when done and with 2 for bad input. A defect of ours keeps its traceback.
    """
    stage = Path(sys.argv[0]).stem
    argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=doc).parse_args()
    try:
        main()
    except (InputError, OSError) as error:
        print(f"{stage}: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
