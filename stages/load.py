"""Load the data set that `load` in params.yaml names, check it, and split it into two tables."""

from stages.columns import engine
from stages.project import cli, files, params
from stages.project.cli import plural
from stages.project.files import TEST, TRAIN
from stages.tables import table
from stages.tables.encoding import check, encode, list_gaps, list_reasons, list_twins
from stages.tables.gather import gather
from stages.tables.split import SAMPLED, split
from stages.tables.table import SAMPLE


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
        if twins := list_twins(schema.levels):
            cli.say(f"load: {found.dataset}: {twins} differ in case or spaces only")
        if dropped:
            gaps = encoding.gaps if schema.missing == "drop" else {schema.target: dropped}
            gone = f"dropped {plural(dropped, 'row')} with a gap, {list_gaps(gaps)}"
            cli.say(f"load: {found.dataset}: {gone}")
        rows, test_rows = (part.only(encoding.kept) for part in (parts.training, parts.test))
        learned = table.write(rows, parts.lot, schema, train, found.on, encoding.gaps)
        held_out = table.write(test_rows, parts.lot, schema, test, found.on)
        ends = [(part.n_rows, part.low[-1], part.high[-1]) for part in (learned, held_out)]
        check(ends, schema.inputs, found, config)
        first = f"ORDER BY {parts.order} LIMIT {SAMPLED}"
        shown = test_rows if held_out.n_rows else rows
        table.write_sample(shown, first, schema, test / SAMPLE, found)
    counts = f"{learned.n_rows:,} training rows and {held_out.n_rows:,} test rows"
    return f"{counts}, {plural(len(schema.features), 'feature')}"


if __name__ == "__main__":
    cli.run(main, __doc__)
