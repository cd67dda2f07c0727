"""Make the project yours: write the section load of params.yaml for a table of your own.

FILE is CSV, Parquet or a SELECT below data/raw. All columns that can be inputs become features,
without those that name the row. What is left out is listed with the reason. The least R² of gate
and report.unit become null, as they belong to another table.
"""

import csv
import dataclasses
from argparse import ArgumentTypeError
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from msgspec.structs import replace
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from stages.columns import engine
from stages.columns.engine import DuckDB
from stages.project import cli, files, params
from stages.project.cli import InputError, plural
from stages.project.files import TRAIN
from stages.project.params import Load
from stages.project.text import join, label, show
from stages.tables.conversion import count, first_rows
from stages.tables.encoding import Encoding, check, encode
from stages.tables.gather import PANDAS_INDEX, gather, open_parts
from stages.tables.relation import Relation, Rows, aggregate, measure
from stages.tables.split import split

PARAMS = Path("params.yaml")
ROW_NAMES = ("id", "rownames", "index", "unnamed: 0", PANDAS_INDEX)  # in small letters
CODES, SHARE = 20, 0.1  # whole numbers that differ, and of the rows, up to which they may be codes


def find_leading_zeros(config: Load, scratch: Path, here: DuckDB) -> dict[str, str]:
    """Return the columns of CSV that have numbers such as 007, by its first rows."""
    parts = [] if config.dataset.endswith(".sql") else open_parts(config, here, scratch)[2]
    if not parts or parts[0].kind != "csv":
        return {}
    column = parts[0].column
    tests = {name: f"regexp_full_match({column(name)}, '0[0-9]+')" for name in parts[0].columns}
    _, counts = count(tests, first_rows(parts[0]), here)
    return dict.fromkeys(+counts, "leading zeros")


def look_at(found: Relation) -> tuple[dict[str, str], str | None, dict[str, str]]:
    """Return the columns that name the row, and why; the first that can be a key; and codes.

    Rows on a server have no order to count them by.
    """
    n = "row_number() OVER ()" if isinstance(found.on, DuckDB) else "0"
    columns = [f"{found.column(name)} AS c{j}" for j, name in enumerate(found.kinds)]
    asked = []
    for j, kind in enumerate(found.kinds.values()):
        x = f"c{j}" if kind == "number" else "CAST(NULL AS DOUBLE)"
        counts_up = f"min({x} - n) = max({x} - n)"
        asked += [f"count(DISTINCT c{j})", f"bool_and({x} = floor({x}))", counts_up]
    rows = Rows(f"({found.rows.select([*columns, f'{n} AS n'])}) AS t")
    n_rows, values = aggregate(asked, rows, found.on)
    names, counters, codes = {}, {}, {}
    for j, name in enumerate(found.kinds):
        n_values, are_whole, count_up = values[3 * j : 3 * j + 3]
        if name.lower() in ROW_NAMES:
            names[name] = "it names the row"
        elif are_whole and count_up and n_values == n_rows:
            counters[name] = "it counts up by one with the row"
        elif are_whole and 2 < n_values <= min(CODES, SHARE * n_rows):
            codes[name] = f"{n_values} different whole numbers"
    if len(names) + len(counters) < len(found.kinds):  # else they are all that there is
        names |= counters
    unique = (name for name, n in zip(found.kinds, values[::3], strict=True) if n == n_rows)
    return names, next((name for name in unique if name in names), None), codes


def describe(encoding: Encoding, codes: Mapping[str, str]) -> Mapping[str, str]:
    """Say for each column that becomes a feature what it holds."""
    columns = dict(encoding.schema.kinds)
    for name, kind in encoding.schema.kinds.items():
        if kind == "text":
            baseline, *others = encoding.schema.levels[name]
            columns[name] += f" of {len(others) + 1} levels, {label(baseline)} is the baseline"
        if gaps := encoding.gaps.get(name):
            columns[name] += f", {plural(gaps, 'gap')}"
        if reading := encoding.schema.readings[name]:
            columns[name] += f", written as {reading}"
        if kind == "number" and name in codes:
            columns[name] += f", {codes[name]}: a category? then list it in load.categories"
    return columns


def write(config: Load, columns: Mapping[str, str], unit: str | None) -> None:
    """Write what belongs to the table into params.yaml, and keep the rest with its comments."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    null = ("tag:yaml.org,2002:null", "null")  # else it writes nothing
    yaml.representer.add_representer(type(None), lambda here, _: here.represent_scalar(*null))
    document = yaml.load(PARAMS.read_text(encoding="utf-8"))
    section = document["load"]
    for name in ("dataset", "target", "derived", "key", "missing", "categories", "order"):
        section[name] = value = getattr(config, name)
        if isinstance(value, list):  # on one line
            section[name] = CommentedSeq(value)
            section[name].fa.set_flow_style()
    section["features"] = features = CommentedSeq(columns)
    for index, remark in enumerate(columns.values()):
        features.yaml_add_eol_comment(remark, index, column=0)
    section["na"].extend(config.na[len(section["na"]) :])
    document["gate"] |= {"min_r2": None, "min_cv_r2": None}
    document["report"]["unit"] = unit or None
    for name in ("load", "gate", "report"):
        for comments in document[name].ca.items.values():
            if comments[2]:
                comments[2].start_mark.column = 0  # it follows what is written now
    with files.replacing(PARAMS) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(document, file)


def start(file: str, target: str, unit: str | None = None, **given: Any) -> None:
    """Write the parameters for a table, and say what to do next; `given` are some of load."""
    given = {"key": None, "categories": [], **given}
    fresh: dict[str, Any] = {"features": None, "derived": [], "order": None, "missing": "mean"}
    try:
        config = replace(params.read(PARAMS).load, dataset=file, target=target, **fresh, **given)
    except ValueError as error:
        raise InputError(str(error)) from error
    with engine.connect(file) as here, files.temporary_folder(TRAIN.parent) as scratch:
        zeros = find_leading_zeros(config, scratch, here)
        found = gather(config, scratch, here, lenient=True)
        markers = found.na[len(config.na) :]
        config = replace(config, na=[*config.na, *markers])
        names, key, codes = look_at(found)
        kinds = {name: kind for name, kind in found.kinds.items() if name not in names}
        found = dataclasses.replace(found, kinds=kinds, left_out={**found.left_out, **names})
        parts = split(found, config)
        encoding = encode(found, parts.training, config)
        sides = (side.only(encoding.kept) for side in (parts.training, parts.test))
        measured = [measure([found.column(target)], side, found.on) for side in sides]
    ends = [(n, low[0], high[0]) for n, _, low, high in measured]
    inputs, columns = encoding.schema.inputs, describe(encoding, codes | zeros)
    check(ends, inputs[:1], found, config)  # else no choice of features makes a model
    missing = "mean" if encoding.gaps else "fail"
    categories = [name for name in config.categories if name in columns]
    write(replace(config, missing=missing, categories=categories), columns, unit)
    print(f"start: {PARAMS}: {target} from {plural(len(columns), 'column')}: {join([*columns])}")
    for name, why in encoding.left_out.items():  # of a problem without the advice to leave it out
        print(f"  left out: {label(name)}: {why.partition('; list ')[0].removeprefix(f'{file}: ')}")
    if markers:
        print(f"  load.na has more: {', '.join(map(show, markers))}")
    if encoding.gaps:
        print(f"  gaps in {plural(encoding.gap_rows, 'row')}: load.missing is mean")
    if key and not config.keys:
        print(f"  --key {quote(key)} keeps rows on their side of the split when the table grows")
    print("  gate.min_r2 is null: set it when you know which R² the model reaches")
    check(ends, inputs, found, config)
    keep = f"git add {quote(file)}, or `dvc add` it; " if "/" in file else ""  # no data set's name
    print(f"next: {keep}dvc repro && python -m stages.report")


def read_names(text: str) -> list[str]:
    """Read a line of CSV."""
    try:
        return next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise ArgumentTypeError(f"must be names of columns, got {show(text)}") from error


def main() -> None:
    parser = cli.parser("python -m stages.start", __doc__)
    add = parser.add_argument
    names: Any = {"metavar": "COLUMN,…", "type": read_names}
    add("file", metavar="FILE", help="the table, or several with wildcards")
    add("--target", metavar="COLUMN", required=True, help="the column to predict")
    add("--key", **names, default=[], help="the columns that together name a row, to split by")
    add("--unit", help="of the target")
    texts = "columns to take as texts, whatever they look like"
    add("--categories", **names, default=[], help=texts)
    args = parser.parse_args()
    key = args.key[0] if len(args.key) == 1 else args.key or None
    start(Path(args.file).as_posix(), args.target, args.unit, key=key, categories=args.categories)


if __name__ == "__main__":
    cli.finish(main, "start")
