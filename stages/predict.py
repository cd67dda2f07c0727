"""Predict tables of any size with the quantized model, or test it on the bundled sample rows.

FILE is CSV with a header, in UTF-8 or UTF-16, which may be gzipped, or Parquet, whatever its name;
`-`, or nothing when something is piped in, is standard input. Columns are found by their names, all
others are passed through, and `prediction` is appended. Without any input the sample rows are
predicted and compared with what the pipeline recorded; if they differ, the exit code is 1.

A row is bad if a value is not of the kind of its column, if a gap has no filling, or if the
prediction is too large for a number; a line is bad if it is no row. The first bad row is reported,
counted from 1 below the header, or the first bad line, counted with it; the exit code is 2, and
nothing is written.
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
from stages.predictor import c, document, expression
from stages.predictor.document import Predictor
from stages.predictor.scoring import Request
from stages.project import cli, files
from stages.project.cli import InputError
from stages.project.files import CARD, PREDICTIONS, PREDICTOR

ROOT = Path(__file__).parent.parent  # files of the user lie in the working directory
CHUNK = 1 << 20  # bytes


def find_input(file: str | None, folder: Path) -> tuple[Path, str]:
    """Return a path to read the table from, and what messages call it.

    A pipe can be read once: `folder` gets what it brings.
    """
    if file and Path(file).is_file():
        return Path(file), file
    name, source = ("standard input", 0) if file in (None, "-") else (file, file)
    path = folder / "table"
    try:
        with open(source, "rb", 0, closefd=source != 0) as stream, path.open("wb") as stored:
            is_device = stat.S_ISCHR(os.fstat(stream.fileno()).st_mode) and not stream.isatty()
            while (chunk := stream.read(CHUNK)) != b"":
                if is_device:  # and may have no end
                    raise InputError(f"{name} is a device, must be a file or a pipe")
                stored.write(chunk or b"")  # None if the pipe does not wait
    except OSError as error:
        what = f"stored in {folder.parent}, give it as a FILE" if path.exists() else "read"
        raise InputError(f"{name} cannot be {what}: {error.strerror}") from error
    return path, name


@contextmanager
def open_output(output: Path | None, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield a path to write to, and the format; once the block has succeeded, it is the output."""
    if output is None:
        if sys.stdout is None:
            raise InputError("standard output is closed")
        yield folder / "output", "csv"
        with (folder / "output").open("rb") as written:
            shutil.copyfileobj(written, sys.stdout.buffer, CHUNK)
        return
    path = Path(os.path.realpath(output))  # a link stays one
    form = path.suffix.lower().removeprefix(".")
    if form not in ("csv", "parquet"):
        raise InputError(f"--output must end in .csv or .parquet, got {output}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        hint = 'is missing or not writable; in a container, `--user "$(id -u):$(id -g)"` helps'
        raise InputError(f"--output: {output} is a folder, or its folder {hint}")
    with files.replacing(path) as part:
        yield part, form


def predict_file(model: Predictor, args: argparse.Namespace) -> None:
    """Predict args.file, or standard input."""
    reach = None
    if args.interval is not None:
        half_widths = document.load_scores(ROOT).get("half_widths", {})
        reach = document.half_width("--interval", args.interval, half_widths)
    with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        path, name = find_input(args.file, folder)
        # DuckDB first, as a signal while it loads may end Python
        with engine.connect(name) as on, open_output(args.output, folder) as (target, form):
            skip = args.on_error == "skip"
            found = detect(path, name, model.schema.kinds, on, skip, folder)
            source = found.read_as(model.schema.readings, model.na)
            remarks = Request(source, model, on, skip, args.only, reach).write(target, form)
    for remark in remarks:
        cli.say(f"predict: {name}: {remark}")


def check_itself(model: Predictor) -> None:
    """Predict the sample rows; exit with 1 if a prediction is not the recorded one."""
    path = ROOT / PREDICTIONS
    kinds = {**model.schema.kinds, "quantized": "number"}
    with files.reading(path), engine.connect(str(path)) as on:
        source = detect(path, str(path), kinds, on)
        rows = Request(source, model, on).rows()
        found = on.rows(f"SELECT p, {source.value('quantized', 'number')} FROM ({rows})")
        # half of the last decimal that was recorded, and what doubles lose
        differing = sum(not abs(p - y) <= 0.5e-6 + 1e-14 * (1 + abs(p)) for p, y in found)
    print(f"Sample predictions: [{', '.join(f'{p:.3f}' for p, _ in found[:5])}]", flush=True)
    if differing:
        cli.say(f"predict: {differing} predictions differ from those that the pipeline recorded")
        sys.exit(1)
    print(f"all {len(found)} predictions are those that the pipeline recorded")


def is_piped() -> bool:
    """Tell whether a file or a pipe is standard input, and not a terminal or nothing."""
    with suppress(OSError):
        return not stat.S_ISCHR(os.fstat(0).st_mode)
    return False


def parse() -> argparse.Namespace:
    parser = cli.parser("predict", __doc__)
    add, either = parser.add_argument, parser.add_mutually_exclusive_group().add_argument
    either("file", metavar="FILE", nargs="?", help="the table to predict")
    either("--sql", metavar="TABLE", help="print the SELECT that predicts TABLE, as FROM has it")
    either("--card", action="store_true", help="print the model card")
    either("--c", action="store_true", help="print the model as a C99 header")
    where = "write to a .csv or .parquet file, whole or not at all; else CSV is printed"
    add("--output", metavar="FILE", type=Path, help=where)
    add("--only", action="store_true", help="write the predictions alone")
    add("--interval", metavar="SHARE", help="append the ends of an interval for this share")
    what = "what to do about bad rows: fail, which is the default, or drop and count them"
    add("--on-error", choices=("fail", "skip"), default="fail", help=what)
    language = f"write --sql in the SQL of {', '.join(DIALECTS)}; needs sqlglot"
    add("--dialect", metavar="NAME", default="duckdb", help=language)
    add("--name", default="", help="what the names in --c begin with, instead of the target")
    return parser.parse_args()


def main() -> None:
    args = parse()
    model = document.load(ROOT / PREDICTOR)
    has_table = args.file is not None or args.output or is_piped()
    is_other = args.sql is not None or args.card or args.c
    if (args.interval is not None or args.output) and (is_other or not has_table):
        what = "need a table to predict, a FILE or a pipe, and no other task"
        raise InputError(f"--interval and --output {what}")
    if args.sql is not None:
        print(expression.select(model, args.sql, args.dialect))
    elif args.card:
        print(document.read_report(CARD, ROOT).decode(), end="")
    elif args.c:
        print(c.header(model, args.name))
    elif has_table:
        predict_file(model, args)
    else:
        check_itself(model)


if __name__ == "__main__":
    cli.finish(main, "predict")
