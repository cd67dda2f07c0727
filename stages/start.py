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
from stages.project.cli import plural
from stages.project.files import TRAIN
from stages.project.params import Load
from stages.project.text import join, label
from stages.tables.encoding import Encoding, encode
from stages.tables.gather import gather
from stages.tables.split import split

PARAMS = Path("params.yaml")


def survey(config: Load) -> tuple[Encoding, Mapping[str, str]]:
    """Look at the table, and say for each column that becomes a feature what it holds."""
    name = config.dataset
    with engine.connect(name) as here, files.temporary_folder(TRAIN.parent) as scratch:
        found = gather(config, scratch, here)
        encoding = encode(found, split(found, config).training, config)
        columns = dict(encoding.schema.kinds)
        for name, kind in encoding.schema.kinds.items():
            if kind == "text":
                baseline, *others = encoding.schema.levels[name]
                columns[name] += f" of {len(others) + 1} levels, {label(baseline)} is the baseline"
            if gaps := encoding.gaps.get(name):
                columns[name] += f", {plural(gaps, 'gap')}"
    return encoding, columns


def write(config: Load, columns: Mapping[str, str]) -> None:
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
    document["gate"]["min_r2"] = None
    with files.replacing(PARAMS) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(document, file)


def start(file: str, target: str, key: str | None = None) -> None:
    """Write the parameters for a table, and say what to do next."""
    whole = replace(params.read(PARAMS).load, features=None, unit=None, missing="mean")
    config = replace(whole, dataset=file, target=target, key=key)
    encoding, columns = survey(config)
    config = config if encoding.gaps else replace(config, missing="fail")
    write(config, columns)
    print(f"start: {PARAMS}: {target} from {plural(len(columns), 'column')}: {join([*columns])}")
    for name, why in encoding.left_out.items():
        print(f"  left out: {label(name)}: {why}")
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
    start(Path(args.file).as_posix(), args.target, args.key)


if __name__ == "__main__":
    cli.finish(main, "start")
