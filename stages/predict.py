"""Predict tables of any size with the quantized model, or test it on the bundled sample rows.

FILE is CSV with a header, Parquet or JSON lines, gzipped or not, which its content says and not
its name; `-`, or nothing when something is piped in, is standard input. The columns of the
features are found by their exact names, all others are passed through, and `prediction` is
appended. Without any input the sample rows are predicted and compared with what the pipeline
recorded; if they differ, the exit code is 1.

A row is bad if a feature is missing, empty or not a finite number. The first bad row is reported,
rows being counted from 1 without the header, with exit code 2, and nothing is written: a file is
checked before its first row goes to standard output. Only what a pipe brings cannot be read twice:
32 MB of output are held back, then rows go out as they come in.
"""

import argparse
import csv
import io
import os
import signal
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages import artifact, cli, engine, predictor, samples, sql
from stages.artifact import PREDICTIONS, PREDICTOR
from stages.card import card
from stages.cli import InputError
from stages.engine import Count
from stages.pipes import relayed
from stages.predictor import Predictor
from stages.source import Source, opened

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROOT = Path(__file__).parent.parent  # files of the user lie in the working directory
FORMATS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "json", ".ndjson": "json"}
HELD = 1 << 25  # bytes of output that wait for the rest of a pipe to prove good


def selection(source: Source, model: Predictor, only: bool, form: str) -> tuple[str, list[str]]:
    """Return what to select, and the names of these columns.

    What was text in CSV remains the same text there. In Parquet and JSON lines the features become
    numbers.
    """
    if only:
        return "p AS prediction", ["prediction"]
    columns = [*source.columns, "prediction"]
    if "prediction" in source.columns:
        raise InputError(f"{source.name} has a column prediction: rename it, or use --only")
    if form == "csv":  # gets its header from us: DuckDB renames what differs in case alone
        outputs = [f"c{index}" for index in range(len(source.columns))]
        return ", ".join([*outputs, "p"]), columns
    if "" in columns or len({column.lower() for column in columns}) < len(columns):
        raise InputError(
            f"{source.name}: columns without a name, or with names that differ in case alone, go"
            " to CSV only; write that, or use --only"
        )
    xs = {feature.name: f"x{index}" for index, feature in enumerate(model.features)}
    outputs = [
        f"{f'c{index}' if source.kind == 'parquet' else xs.get(column, f'c{index}')}"
        f" AS {sql.identifier(column)}"
        for index, column in enumerate(source.columns)
    ]
    return ", ".join([*outputs, "p AS prediction"]), columns


def header(names: Sequence[str]) -> bytes:
    """Return `names` as a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(names)
    return line.getvalue().encode()


def destination(path: Path) -> str:
    """Return the format that the name of an output file asks for."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise InputError(f"--output must end in one of {', '.join(FORMATS)}, got {path}")
    if not path.parent.is_dir():
        raise InputError(f"--output: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise InputError(f"--output: {path} is not a file")
    return form


def predict(
    source: Source, model: Predictor, args: argparse.Namespace, connection: "DuckDBPyConnection"
) -> Count:
    """Write the predictions for `source` to args.output, or as CSV to standard output."""
    skip = args.on_error == "skip"

    def execute(query: str, numbered: bool, before: str = "", after: str = "") -> Count:
        rows = engine.sift(source, model, query, skip, numbered)
        return engine.run(connection, before + rows + after, source, model, skip)

    def check(count: Count) -> None:
        if count.bad and not skip:
            if source.seekable:  # the rows were not numbered, which is faster
                count = execute("count(*)", True)
            raise InputError(f"{source.name}: {engine.complaint(count, source.kind)}")
        if not count.good:
            dropped = count.bad + count.malformed
            what = f"all {dropped:,} rows are bad" if dropped else "there are no rows"
            raise InputError(f"{source.name}: {what}")

    def copy(path: Path, form: str, options: str = "") -> Count:
        target = f") TO {sql.literal(str(path))} (FORMAT {form}{options})"
        count = execute(outputs, not source.seekable, "COPY (", target)
        check(count)
        return count

    if args.output is None:
        outputs, names = selection(source, model, args.only, "csv")
        if source.seekable:
            check(execute("count(*)", False))
        hold = 0 if source.seekable else HELD
        with relayed(sys.stdout.fileno(), header(names), hold) as pipe:
            return copy(pipe, "csv", ", HEADER false")

    form = destination(args.output)
    outputs, names = selection(source, model, args.only, form)
    with artifact.replacing(args.output.resolve()) as part:
        try:
            file = part.open("wb")
        except OSError as error:
            raise InputError(f"{args.output} cannot be written: {error.strerror}") from error
        with file:
            if form != "csv":
                return copy(part, form)
            with relayed(file.fileno(), header(names), 0) as pipe:
                return copy(pipe, "csv", ", HEADER false")


def warnings(name: str, count: Count) -> list[str]:
    """Say what was dropped, and what was predicted outside the training range."""
    lines = []
    if count.bad or count.malformed:
        dropped = f"{count.bad + count.malformed:,}{'' if count.complete else ' or more'}"
        lines.append(f"{name}: dropped {dropped} bad rows, kept {count.good:,}")
    if count.outside:
        f = count.widest
        lines.append(
            f"{name}: {count.outside:,} of {count.good:,} rows are outside the training range,"
            f" most often in {f.name}, {f.min:g} to {f.max:g}"
        )
    return lines


def predict_file(model: Predictor, args: argparse.Namespace) -> None:
    """Open args.file, or standard input, and predict it."""
    name = "standard input" if args.file in (None, "-") else args.file
    try:
        descriptor = 0 if args.file in (None, "-") else os.open(args.file, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    features = [feature.name for feature in model.features]
    with (
        engine.connected(name) as connection,
        opened(descriptor, name, features, connection) as source,
    ):
        count = predict(source, model, args, connection)
    for line in warnings(name, count):
        print(f"predict: {line}", file=sys.stderr)


def self_test(model: Predictor) -> None:
    """Print the predictions of the sample rows; exit with 1 if they are not those recorded."""
    with engine.connected(str(PREDICTIONS)) as connection:
        rows = samples.predict(ROOT / PREDICTIONS, model, connection)
    print(samples.report(model, rows))
    if differing := samples.differing(rows):
        sys.stdout.flush()
        print(
            f"predict: {differing} of {len(rows)} predictions differ from those that the pipeline"
            " recorded",
            file=sys.stderr,
        )
        sys.exit(1)
    print(f"all {len(rows)} predictions are those that the pipeline recorded")


def piped() -> bool:
    """Tell whether a file or a pipe is standard input, and not a terminal or nothing."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def parse() -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="predict",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="the table to predict")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write to a .csv, .parquet, .jsonl or .ndjson file, whole or not at all;"
        " without it CSV goes to standard output",
    )
    parser.add_argument("--only", action="store_true", help="write the predictions alone")
    parser.add_argument(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="what to do about bad rows: fail, which is the default, or drop and count them",
    )
    parser.add_argument(
        "--sql",
        metavar="TABLE",
        help="print the SELECT that predicts TABLE in any engine, in standard SQL; Spark, BigQuery"
        " and MySQL want backquotes for its double quotes",
    )
    parser.add_argument("--card", action="store_true", help="print the model card")
    args = parser.parse_args()
    if (args.sql is not None or args.card) and (args.file or args.output):
        parser.error("--sql and --card print, and take no FILE and no --output")
    return args


def main() -> None:
    args = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.stdout is None:
        raise InputError("standard output is closed")
    try:
        model = predictor.load(ROOT / PREDICTOR)
    except FileNotFoundError as error:
        raise InputError(f"{ROOT / PREDICTOR} does not exist; `dvc repro` makes it") from error
    if args.sql is not None:
        print(sql.select(model, args.sql))
    elif args.card:
        print(card(model))
    elif args.file or piped():
        predict_file(model, args)
    elif args.output or args.only:
        raise InputError("there is no FILE, and nothing is piped in")
    else:
        self_test(model)


if __name__ == "__main__":
    cli.finish(main, "predict")
