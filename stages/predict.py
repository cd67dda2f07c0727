"""Predict tables of any size with the quantized model, or test it on the bundled sample rows.

FILE is CSV with a header, Parquet or JSON lines, gzipped or not, which its content says and not
its name; `-`, or nothing when something is piped in, is standard input. The columns of the
features are found by their exact names, all others are passed through, and `prediction` is
appended. Without any input the sample rows are predicted and compared with what the pipeline
recorded; if they differ, the exit code is 1.

A row is bad if a feature is missing, empty or not a finite number, or if the prediction is too
large for one; a line is bad if it is no row. All rows are checked before the first one is written.
The first bad row is reported, counted from 1 without the header, or the first bad line, counted
with it; the exit code is 2, and nothing is written, but for --on-error skip.

A pipe is stored first: in a temporary file, or in up to 64 MB of memory where there is no folder
for one.
"""

import signal

if __name__ == "__main__":  # until main listens, Ctrl-C ends it here, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import csv
import io
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from stages.columns import engine, sql
from stages.columns.pipes import pumped
from stages.columns.source import opened
from stages.predictor import document, expression, samples
from stages.predictor.card import card
from stages.predictor.document import Predictor
from stages.predictor.scoring import Request
from stages.project import cli, files
from stages.project.cli import InputError
from stages.project.files import PREDICTIONS, PREDICTOR, SCORES

ROOT = Path(__file__).parent.parent  # files of the user lie in the working directory
OWNED = '; in a container, `--user "$(id -u):$(id -g)"` makes you its owner'
FORMATS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "json", ".ndjson": "json"}


def selection(request: Request, form: str) -> tuple[str, str]:
    """Return what to select, and how DuckDB writes it.

    CSV to CSV copies text as it is. Parquet and JSON lines get the features of CSV as numbers.
    """
    source = request.source
    names = () if request.only else source.columns
    columns = {name: f"c{index}" for index, name in enumerate(names)}
    if "prediction" in columns:
        raise InputError(f"{source.name} has a column prediction: rename it, or use --only")
    if form != "csv" and source.kind != "parquet":
        for index, (name, kind) in enumerate(request.kinds.items()):
            if kind == "number" and name in columns:
                columns[name] = f"r{index}"
    columns["prediction"] = "p"
    if form == "csv":  # under our own header: DuckDB renames what differs in case alone
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(columns)
        prefix = f"PREFIX {sql.literal(header.getvalue())}, SUFFIX '\n'"
        return ", ".join(columns.values()), f"FORMAT csv, HEADER false, {prefix}"
    if "" in columns or len({name.lower() for name in columns}) < len(columns):
        raise InputError(
            f"{source.name}: columns without a name, or with names that differ in case alone, go"
            " to CSV only; write that, or use --only"
        )
    outputs = (f"{value} AS {sql.identifier(name)}" for name, value in columns.items())
    return ", ".join(outputs), f"FORMAT {form}"


def destination(output: Path) -> tuple[Path, str]:
    """Return the file behind the path `output`, and the format that its name asks for."""
    form = FORMATS.get(output.suffix.lower())
    if form is None:
        raise InputError(f"--output must end in one of {', '.join(FORMATS)}, got {output}")
    path = Path(os.path.realpath(output))
    if not path.parent.is_dir():
        raise InputError(f"--output: there is no folder {output.parent}")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"--output: {output} is not a file")
    return path, form


def predict(request: Request, output: Path | None) -> list[str]:
    """Write the predictions to `output`, or as CSV to standard output, and return remarks."""
    if output is None:
        outputs, options = selection(request, "csv")
        good, remarks = request.tally()
        with pumped(sys.stdout.fileno()) as pipe:
            request.copy(outputs, pipe, options, good)
        return remarks

    path, form = destination(output)
    outputs, options = selection(request, form)
    try:
        with files.replacing(path) as part, part.open("wb") as file:
            good, remarks = request.tally()
            target = f"/dev/fd/{file.fileno()}"  # a name that SQL can say, whatever the path is
            request.copy(outputs, target, f"{options}, USE_TMP_FILE false", good)
    except OSError as error:
        hint = OWNED if isinstance(error, PermissionError) else ""
        raise InputError(f"{output} cannot be written: {error.strerror}{hint}") from error
    return remarks


def predict_file(model: Predictor, args: argparse.Namespace) -> None:
    """Open args.file, or standard input, and predict it."""
    is_standard = args.file in (None, "-")
    name = "standard input" if is_standard else args.file
    try:
        descriptor = 0 if is_standard else os.open(args.file, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    with (
        engine.connected(name) as connection,
        opened(descriptor, name, model.schema.kinds, connection) as source,
    ):
        if source.decimal == ",":
            cli.say(f"predict: {name}: read with decimal commas")
        request = Request(source, model, args.on_error == "skip", args.only, connection)
        remarks = predict(request, args.output)
    for remark in remarks:
        cli.say(f"predict: {name}: {remark}")


def self_test(model: Predictor) -> None:
    """Print the predictions of the sample rows; exit with 1 if they are not those recorded."""
    rows = samples.predict(ROOT / PREDICTIONS, model)
    with files.reading(ROOT / SCORES):
        print(samples.report(model, rows, document.load_scores(ROOT)))
    recorded = "those that the pipeline recorded"
    if differing := samples.differing(rows):
        sys.stdout.flush()
        cli.say(f"predict: {differing} of {len(rows)} predictions differ from {recorded}")
        sys.exit(1)
    print(f"all {len(rows)} predictions are {recorded}")


def piped() -> bool:
    """Tell whether a file or a pipe is standard input, and not a terminal or nothing."""
    with suppress(OSError):
        return stat.S_IFMT(os.fstat(0).st_mode) in (stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK)
    return False


def parse() -> argparse.Namespace:
    parser = cli.parser("predict", __doc__)
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="the table to predict")
    add(
        "--output",
        metavar="FILE",
        type=Path,
        help="write to a .csv, .parquet, .jsonl or .ndjson file, whole or not at all;"
        " without it CSV goes to standard output",
    )
    add("--only", action="store_true", help="write the predictions alone")
    add(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="what to do about bad rows: fail, which is the default, or drop and count them",
    )
    printed = parser.add_mutually_exclusive_group().add_argument
    printed(
        "--sql", metavar="TABLE", help="print the SELECT that predicts TABLE, as it stands in FROM"
    )
    printed("--card", action="store_true", help="print the model card")
    printed("--c", action="store_true", help="print the model as a C99 header")
    dialects = ", ".join(sorted(sql.DIALECTS))
    add("--dialect", metavar="NAME", help=f"write --sql in the SQL of {dialects}; needs sqlglot")
    args = parser.parse_args()
    if (args.sql is not None or args.card or args.c) and (args.file or args.output):
        parser.error("--sql, --card and --c print, and take no FILE and no --output")
    if args.dialect is not None and args.sql is None:
        parser.error("--dialect needs --sql")
    if args.sql is not None and not args.sql.strip():
        parser.error("--sql needs the name of a table")
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
        self_test(model)


if __name__ == "__main__":
    cli.finish(main, "predict")
