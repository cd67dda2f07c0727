"""Predict tables of any size with the quantized model, or test it on the bundled sample rows.

FILE is CSV with a header or Parquet, which its content says and not its name; CSV may be gzipped.
`-`, or nothing when something is piped in, is standard input. The columns of the features are found
by their exact names, all others are passed through, and `prediction` is appended. Without any input
the sample rows are predicted and compared with what the pipeline recorded; if they differ, the exit
code is 1.

A row is bad if a feature is missing, empty or not a finite number, or if the prediction is too
large for one; a line is bad if it is no row. All rows are checked before the first one is written.
The first bad row is reported, counted from 1 without the header, or the first bad line, counted
with it; the exit code is 2, and nothing is written, but for --on-error skip.

Standard input and output go through a temporary file. A container with a read-only disk has 64 MB
of memory for that: for more, use FILE and --output, or `docker run --tmpfs /tmp`.
"""

import argparse
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.columns import engine
from stages.columns.source import detect
from stages.columns.sql import DIALECTS
from stages.predictor import document, expression, samples
from stages.predictor.card import card
from stages.predictor.document import Predictor
from stages.predictor.scoring import Request
from stages.project import cli, files
from stages.project.cli import InputError
from stages.project.files import PREDICTOR, SCORES

ROOT = Path(__file__).parent.parent  # files of the user lie in the working directory
FORMATS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "json"}
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # which every container has
CHUNK = 1 << 20  # bytes


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder, in memory where no disk has one."""
    try:
        folder = TemporaryDirectory(ignore_cleanup_errors=True)
    except FileNotFoundError:
        folder = TemporaryDirectory(dir=SHARED_MEMORY)
    with folder as path:
        yield Path(path)


def store(file: str | int, name: str, folder: Path) -> Path:
    """Store what can be read once, such as a pipe, so that it can be read twice."""
    path = folder / "table"
    try:
        stream = open(file, "rb", buffering=0, closefd=file != 0)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    try:
        with stream, path.open("wb") as stored:
            while (chunk := stream.read(CHUNK)) != b"":
                stored.write(chunk or b"")  # None if the pipe does not wait
    except OSError as error:
        what = f"{name} cannot be stored in {folder.parent}: {error.strerror}"
        raise InputError(f"{what}; give it as a FILE") from error
    return path


@contextmanager
def open_input(file: str | None) -> Iterator[tuple[Path, str]]:
    """Yield a path to read the table from, and what messages call it."""
    if file in (None, "-"):
        with scratch_folder() as folder:
            yield store(0, "standard input", folder), "standard input"
    elif Path(file).is_file():
        yield Path(file), file
    else:
        with scratch_folder() as folder:
            yield store(file, file, folder), file


@contextmanager
def open_output(output: Path | None) -> Iterator[tuple[Path, str]]:
    """Yield a path to write to, and the format; its content appears once the block has succeeded.

    That is in the file behind `output`, or on standard output.
    """
    if output is None:
        with scratch_folder() as folder:
            yield folder / "output", "csv"
            with (folder / "output").open("rb") as written:
                shutil.copyfileobj(written, sys.stdout.buffer, CHUNK)
        return
    form = FORMATS.get(output.suffix.lower())
    if form is None:
        raise InputError(f"--output must end in one of {', '.join(FORMATS)}, got {output}")
    path = Path(os.path.realpath(output))
    if not path.parent.is_dir():
        raise InputError(f"--output: there is no folder {output.parent}")
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"--output: {output} is not a file")
    if not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{output} cannot be written: its folder is not writable; in a container,"
            ' `--user "$(id -u):$(id -g)"` makes you its owner'
        )
    with files.replacing(path) as part:
        yield part, form


def predict_file(model: Predictor, args: argparse.Namespace) -> None:
    """Predict args.file, or standard input."""
    with (
        open_input(args.file) as (path, name),
        engine.connect(name) as connection,  # first, as a signal while DuckDB loads may end Python
        open_output(args.output) as (target, form),
        engine.unchanged(path),
    ):
        source = detect(path, name, model.schema.kinds, connection)
        if source.decimal == ",":
            cli.say(f"predict: {name}: read with decimal commas")
        request = Request(source, model, connection, args.on_error == "skip", args.only)
        remarks = request.write(target, form)
    for remark in remarks:
        cli.say(f"predict: {name}: {remark}")


def test_itself(model: Predictor) -> None:
    """Print the predictions of the sample rows; exit with 1 if they are not those recorded."""
    report, differing = samples.predict_samples(model, ROOT)
    print(report, flush=True)
    if differing:
        cli.say(f"predict: {differing} predictions differ from those that the pipeline recorded")
        sys.exit(1)
    print("all predictions are those that the pipeline recorded")


def piped() -> bool:
    """Tell whether a file or a pipe is standard input, and not a terminal or nothing."""
    with suppress(OSError):
        return not stat.S_ISCHR(os.fstat(0).st_mode)
    return False


def parse() -> argparse.Namespace:
    parser = cli.parser("predict", __doc__)
    add, printed = parser.add_argument, parser.add_mutually_exclusive_group().add_argument
    add("file", metavar="FILE", nargs="?", help="the table to predict")
    where = f"write to a {', '.join(FORMATS)} file, whole or not at all; else CSV is printed"
    add("--output", metavar="FILE", type=Path, help=where)
    add("--only", action="store_true", help="write the predictions alone")
    what = "what to do about bad rows: fail, which is the default, or drop and count them"
    add("--on-error", choices=("fail", "skip"), default="fail", help=what)
    select = "print the SELECT that predicts TABLE, as it stands in FROM"
    printed("--sql", metavar="TABLE", help=select)
    printed("--card", action="store_true", help="print the model card")
    printed("--c", action="store_true", help="print the model as a C99 header")
    language = f"write --sql in the SQL of {', '.join(DIALECTS)}; needs sqlglot"
    add("--dialect", metavar="NAME", help=language)
    args = parser.parse_args()
    if (args.sql or args.card or args.c) and (args.file or args.output):
        parser.error("--sql, --card and --c print, and take no FILE and no --output")
    if args.dialect and not args.sql:
        parser.error("--dialect needs --sql")
    return args


def main() -> None:
    args = parse()
    if sys.stdout is None:
        raise InputError("standard output is closed")
    model = document.load(ROOT / PREDICTOR)
    if args.sql is not None:
        print(expression.select(model, args.sql, args.dialect or "duckdb"))
    elif args.card:
        with files.reading(ROOT / SCORES):
            print(card(model, document.load_scores(ROOT)))
    elif args.c:
        from stages.predictor import c  # here, as predicting does not need it

        print(c.header(model))
    elif args.file is not None or piped():
        predict_file(model, args)
    elif args.output or args.only:
        raise InputError("there is no FILE, and nothing is piped in")
    else:
        test_itself(model)


if __name__ == "__main__":
    cli.finish(main, "predict")
