"""Hold what `suggest` promises against the test rows, with its terms and without.

    python -m benchmarks.inputs [TABLE.csv ...]

Prints a table in Markdown of the data sets with a name, the cars of the tests, and of files, whose
last usable column is the target. Draws `docs/better-inputs.svg`: test R² by bytes, for weights of 2
to 12 bits, of the features of the first data set and with the first three terms.
"""

import argparse
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import joblib
from ruamel.yaml import YAML

from benchmarks.cost import require
from benchmarks.formats import LOOK, Scored, encode, score, write_table
from benchmarks.rows import TABLE, make_checkout, write_params
from benchmarks.tables import choose_target
from stages import evaluate, load, quantize, suggest, train
from stages.project import files
from stages.regression import sums
from stages.regression.linear import LinearModel
from stages.regression.sums import Sums
from stages.tables import table
from stages.tables.gather import list_names
from tests.cars import cars
from tests.cars import write as write_cars

PICTURE = Path("docs/better-inputs.svg")
FIRST = 3  # terms of the picture
WIDTHS = range(2, 13)


@contextmanager
def checkout(name: str) -> Iterator[None]:
    """Work in a folder whose parameters are for a data set, or for the file of this name."""
    with make_checkout() as folder:
        if name in list_names():
            write_params(folder, name, target=None)
        else:
            shutil.copy("params.yaml", folder)
            if name == "cars":
                write_cars(cars(5000), path=folder / TABLE)
            else:
                shutil.copy(name, folder / TABLE)
            if message := choose_target(folder):
                raise SystemExit(f"{name}: {message}")
        with chdir(folder):
            yield


def learn(derived: list[str]) -> Any:
    """Run the stages with these terms, and return the metrics."""
    yaml, path = YAML(), Path("params.yaml")
    document = yaml.load(path.read_text(encoding="utf-8"))
    document["load"]["derived"] = derived
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    with redirect_stderr(io.StringIO()):
        for stage in (load, train, quantize, evaluate):
            stage.main()
    return json.loads(files.METRICS.read_bytes())


def list_terms() -> list[str]:
    with redirect_stdout(io.StringIO()):
        _, _, found = suggest.suggest(most=10).partition("derived: ")
    return list(json.loads(found or "[]"))


def hold(name: str) -> Iterator[object]:
    """Yield a row of the table: sizes, R² without terms, the number of terms, R² with them."""
    with checkout(name):
        before, terms = learn([]), list_terms()
        parts = [table.read(part) for part in (files.TRAIN, files.TEST)]
        yield from (Path(name).stem, sum(part.n_rows for part in parts), len(parts[0].names) - 1)
        yield from show(before)
        yield len(terms)
        yield from show(learn(terms) if terms else before)


def show(metrics: Any) -> tuple[str, str]:
    return f"{metrics['cv_r2']['mean']:.3f}", f"{metrics['float_r2']:.3f}"


def list_widths(name: str) -> Iterator[Scored]:
    """Yield the model of the stages at each width, under this name."""
    learned = sums.load(files.SUMS)
    [test] = Sums.of_table(table.read(files.TEST).of(learned.schema))
    model = LinearModel(**joblib.load(files.UNQUANT_PARAMS))
    for rounding, bits, size, coded in encode(model, learned.sums, learned.schema):
        if rounding == "optimal" and bits in WIDTHS:
            yield from score([(name, bits, size, coded)], model, learned.sums, test)


def draw(found: list[Scored]) -> str:
    """Return a picture of test R² by bytes, as SVG."""
    from vl_convert import vegalite_to_svg

    scale = {"zero": False, "nice": False, "padding": 10}
    axes = {
        "x": {"field": "payload_bytes", "title": "bytes of all that predicts", "scale": scale},
        "y": {"field": "test_r2", "title": "test R²", "scale": scale},
    }
    plot = {
        "data": {"values": [each._asdict() for each in found]},
        "width": 480,
        "height": 300,
        "padding": 12,
        "encoding": {axis: {"type": "quantitative"} | more for axis, more in axes.items()}
        | {"color": {"field": "format", "type": "nominal", "title": "inputs", "sort": None}},
        "mark": {"type": "line", "point": True},
    }
    return vegalite_to_svg(plot, config=LOOK)


def main() -> None:
    require("vl_convert")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help="CSV files")
    header = ("table", "rows", "features", "R² in folds", "test R²", "terms", "in folds", "test R²")
    rows = (hold(name) for name in (*list_names(), "cars", *parser.parse_args().tables))
    print(write_table(header, rows), flush=True)
    found: list[Scored] = []
    with checkout(list_names()[0]):
        learn([])
        found += list_widths("features alone")
        learn(list_terms()[:FIRST])
        found += list_widths(f"and {FIRST} suggested terms")
    print(write_table(Scored._fields, found))
    with files.replacing(PICTURE) as part:
        part.write_text(draw(found) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
