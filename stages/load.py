"""Load the data set that `load` in params.yaml names, check it, and split it into two tables."""

from stages.columns import engine
from stages.project import cli, files, params
from stages.project.cli import InputError, plural
from stages.project.files import TEST, TRAIN
from stages.project.params import Load
from stages.tables import table
from stages.tables.encoding import encode, list_gaps, list_reasons
from stages.tables.gather import gather
from stages.tables.split import SAMPLED, split
from stages.tables.table import SAMPLE, Table


def check(train: Table, test: Table, config: Load) -> None:
    """Refuse fewer training rows than coefficients, fewer test rows than R² needs, or no spread."""
    schema = train.schema
    if test.n_rows < 2 or train.n_rows <= len(schema.features):
        chance = "; with a key this is chance, which another load.seed changes"
        raise InputError(
            f"load.test_size {config.test_size} leaves {train.n_rows} rows for training and"
            f" {test.n_rows} for the test; at least {len(schema.features) + 1} and 2 are needed"
            + (chance if config.keys else "")
        )
    for part, which in ((train, "training"), (test, "test")):
        if part.low[-1] == part.high[-1]:
            same = f"{schema.target} is {part.low[-1]} in all {which} rows"
            raise InputError(f"{schema.dataset}: {same}, so that R² is undefined")


def main() -> str:
    config = params.read().load
    with (
        engine.connect(config.dataset) as here,  # first: a signal while it loads may end Python
        files.replacing(TRAIN) as train,
        files.replacing(TEST) as test,
        files.temporary_folder(TRAIN.parent) as scratch,
    ):
        found = gather(config, scratch, here)
        parts = split(found, config)
        encoding = encode(found, parts.training, config)
        if encoding.left_out:
            cli.say(f"load: {found.dataset}: left out: {list_reasons(encoding.left_out)}")
        schema, dropped = encoding.schema, encoding.dropped
        if dropped:
            gaps = encoding.gaps if schema.missing == "drop" else {schema.target: dropped}
            gone = f"dropped {plural(dropped, 'row')} with a gap, {list_gaps(gaps)}"
            cli.say(f"load: {found.dataset}: {gone}")
        rows, test_rows = (part.only(encoding.kept) for part in (parts.training, parts.test))
        learned = table.write(rows, schema, train, found.on)
        held_out = table.write(test_rows, schema, test, found.on)
        check(learned, held_out, config)
        first = f"ORDER BY {parts.order} LIMIT {SAMPLED}"
        table.write_sample(test_rows, first, schema, test / SAMPLE, found)
    counts = f"{learned.n_rows:,} training rows and {held_out.n_rows:,} test rows"
    return f"{counts}, {len(schema.features)} features"


if __name__ == "__main__":
    cli.run(main, __doc__)
