"""Make the project yours: write the section load of params.yaml for a table of your own.

FILE is CSV, Parquet or a SELECT below data/raw. All columns that can be inputs become features, and
those that cannot are listed with the reason. gate.min_r2 becomes null, as it belongs to another
table.
"""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from msgspec.structs import replace
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from stages.columns import engine
from stages.project import cli, files, params
from stages.project.cli import InputError, plural
from stages.project.files import TRAIN
from stages.project.params import Load
from stages.project.text import listed, named
from stages.tables.encoding import Encoding
from stages.tables.split import prepared
from stages.tables.table import VIEW

PARAMS = Path("params.yaml")


def survey(config: Load) -> tuple[Load, Encoding, Mapping[str, str]]:
    """Look at the table, choose what is done about gaps, and say what each feature holds."""
    name = config.dataset
    with files.temporary_folder(TRAIN.parent) as scratch, engine.connect(name) as connection:
        found, _, encoding = prepared(config, scratch, connection)
        schema = encoding.schema
        columns = dict(schema.kinds)
        for name, levels in schema.levels.items():
            n_levels = plural(len(levels), "level")
            columns[name] += f" of {n_levels}, {named(levels[0])} is the baseline"
        for name, count in encoding.gaps.items():
            if name in columns:
                columns[name] += f", {plural(count, 'gap')}"
        for name in (name for name, kind in schema.kinds.items() if kind == "number"):
            x = found.engine.dialect.identifier(name)
            counts = f"bool_and({x} = floor({x})) AS whole, count(DISTINCT {x}) AS n"
            [(whole, different)] = found.engine.rows(f"SELECT {counts} FROM {VIEW}")
            if whole and different == found.n_rows:
                columns[name] += ", another in each row: if it only names the row, make it the key"
    return config if encoding.gaps else replace(config, missing="fail"), encoding, columns


def write(config: Load, columns: Mapping[str, str], left_out: Mapping[str, str]) -> None:
    """Write what belongs to the table into params.yaml, and keep the rest with its comments."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    null = ("tag:yaml.org,2002:null", "null")  # else it writes nothing
    yaml.representer.add_representer(type(None), lambda here, _: here.represent_scalar(*null))
    document = yaml.load(PARAMS.read_text(encoding="utf-8"))
    features = CommentedSeq(columns)
    for index, remark in enumerate(columns.values()):
        features.yaml_add_eol_comment(remark, index)
    section = document["load"]
    for name in ("dataset", "target", "unit", "key", "missing"):
        section[name] = getattr(config, name)
    section["features"] = features
    if left_out:
        lines = ["left out:", *(f"  {named(name)}: {why}" for name, why in left_out.items())]
        section.yaml_set_comment_before_after_key("unit", before="\n".join(lines), indent=2)
    document["gate"]["min_r2"] = None
    with files.replacing(PARAMS) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(document, file)
        file.flush()
        try:
            params.read(part)
        except InputError as error:
            raise InputError(str(error).replace(str(part), str(PARAMS))) from error


def start(file: str, target: str, key: str | None = None) -> None:
    """Write the parameters for a table, and say what to do next."""
    here = params.read(PARAMS).load
    whole = replace(here, dataset=file, target=target, features=None, unit=None, key=key)
    config, encoding, columns = survey(replace(whole, missing="mean"))
    write(config, columns, encoding.left_out)
    print(f"start: {PARAMS}: {target} from {plural(len(columns), 'column')}: {listed([*columns])}")
    for name, why in encoding.left_out.items():
        print(f"  left out: {named(name)}: {why}")
    if encoding.gaps:
        print(f"  gaps in {plural(encoding.gap_rows, 'row')}: load.missing is {config.missing}")
    print("  gate.min_r2 is null: set it when you know which R² the model reaches")
    print(f"next: dvc repro && python -m stages.report; git add {quote(file)}, or `dvc add` it")


def main() -> None:
    parser = cli.parser("python -m stages.start", __doc__)
    parser.add_argument("file", metavar="FILE", help="the table, or several with wildcards")
    parser.add_argument("--target", metavar="COLUMN", required=True, help="the column to predict")
    parser.add_argument("--key", metavar="COLUMN", help="the column that names a row, to split by")
    args = parser.parse_args()
    start(args.file, args.target, args.key)


if __name__ == "__main__":
    cli.finish(main, "start")
