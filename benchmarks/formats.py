"""Compare formats of the model of this checkout: bytes, growth of the training MSE, test R².

Needs `dvc repro`. Prints tables in Markdown, and draws `docs/quantization.svg`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np

from benchmarks.cost import require
from stages.columns.inputs import Schema
from stages.predictor.document import Predictor
from stages.predictor.payload import pack
from stages.project import cli, files
from stages.quantizer.solve import quantize
from stages.regression import scores, sums
from stages.regression.linear import Floats, LinearModel
from stages.regression.sums import Sums
from stages.report import FONT
from stages.tables import table

PICTURE = Path("docs/quantization.svg")
ROUNDINGS = ("optimal", "gptq", "nearest")
COLORS = {
    "optimal": "#4c78a8",
    "gptq": "#72b7b2",
    "nearest": "#f58518",
    "float32": "#54a24b",
    "bfloat16": "#b279a2",
    "a scale each": "#9d755d",
    "min-max": "#e45756",
}
LOOK = {"aria": False, "background": "white", "font": FONT}


Coded = tuple[str, int, int, LinearModel]  # format, bits of a weight, bytes, model


class Scored(NamedTuple):
    """How good a model in some format is."""

    format: str
    bits: int  # of a weight
    payload_bytes: int  # of all that predicts
    growth: float  # of the training MSE, in percent
    test_r2: float


def encode(model: LinearModel, train: Sums, schema: Schema) -> Iterator[Coded]:
    """Yield the model as whole numbers of 1 to 16 bits, by each way of rounding."""
    ranges = np.column_stack([train.low, train.high])[:-1].tolist()
    for rounding in ROUNDINGS:
        for bits in range(1, 17):
            found = quantize(model.coef, train, bits, rounding).model
            coded = Predictor.of(schema, bits, ranges, found.coef.tolist(), found.intercept)
            yield rounding, bits, len(pack(coded)), found


def convert(model: LinearModel, train: Sums) -> Iterator[Coded]:
    """Yield the model in each format of others that has the range for it.

    Intercepts, scales, deviations and zero points are float32.
    """
    n = len(model.coef)
    with np.errstate(over="ignore", invalid="ignore"):
        intercept = float(np.float32(model.intercept))
        std = to_float32(train.std[:-1])
        each = to_float32(np.abs(model.coef) / 127)
        each[each == 0] = 1.0
        ways = [
            ("float32", 32, 4 * (n + 1), to_float32(model.coef)),
            ("bfloat16", 16, 2 * n + 4, to_bfloat16(model.coef)),
            ("a scale each", 8, (1 + 4) * n + 4, np.rint(model.coef / each) * each),
            ("min-max", 8, (1 + 4) * n + 4 + 8, to_min_max(model.coef * std, 8) / std),
        ]
    for name, bits, payload_bytes, coef in ways:
        if np.isfinite([*coef, intercept]).all():
            yield name, bits, payload_bytes, LinearModel(coef, intercept)


def to_float32(values: Floats) -> Floats:
    """Round to float32, ties to even."""
    return values.astype(np.float32).astype(np.float64)


def to_bfloat16(values: Floats) -> Floats:
    """Round to the 16 upper bits of float32, ties to the even one."""
    bits = values.astype(np.float32).view(np.uint32)
    upper = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return upper.astype(np.uint32).view(np.float32).astype(np.float64)


def to_min_max(values: Floats, bits: int) -> Floats:
    """Round to 2^bits points from the least value to the greatest, as is usual.

    Values that are all equal leave a scale of zero, and are kept.
    """
    zero_point, top = float(np.float32(values.min())), 2**bits - 1
    scale = float(np.float32((values.max() - zero_point) / top)) or 1.0
    codes = np.rint((values - zero_point) / scale).clip(0, top)
    return np.asarray(codes * scale + zero_point)


def score(
    coded: Iterable[Coded], float_model: LinearModel, train: Sums, test: Sums
) -> Iterator[Scored]:
    for name, bits, payload_bytes, model in coded:
        growth = scores.mse_growth_percent(train, float_model, model)
        test_r2 = round(scores.r2(test, model), files.DECIMALS)
        yield Scored(name, bits, payload_bytes, growth, test_r2)


def pick(found: Iterable[Scored]) -> Iterator[Scored]:
    """Yield each model that is better than all of no more bytes, the smallest first."""
    least = math.inf
    for each in sorted(found, key=attrgetter("payload_bytes", "growth")):
        if each.growth < least:
            least = each.growth
            yield each


def write_table(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown."""
    lines = (header, ["---:"] * len(header), *rows)
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def draw(found: Iterable[Scored]) -> str:
    """Return a picture of growth by bytes, as SVG; the last models lie on top."""
    from vl_convert import vegalite_to_svg

    axes: dict[str, Any] = {
        "x": {"field": "payload_bytes", "title": "bytes of all that predicts"},
        "y": {
            "field": "growth",
            "title": "growth of the training MSE (percent, logarithmic)",
            "scale": {"type": "log"},
            "axis": {"labelExpr": "format(datum.value, datum.value < 0.001 ? '.0e' : '~g')"},
        },
    }
    colors = {"domain": [*COLORS], "range": [*COLORS.values()]}
    plot = {
        "data": {"values": [each._asdict() for each in found if each.growth > 0]},
        "width": 480,
        "height": 300,
        "padding": 12,
        "encoding": {axis: {"type": "quantitative"} | more for axis, more in axes.items()}
        | {"color": {"field": "format", "type": "nominal", "scale": colors}},
        "layer": [
            {
                "mark": "line",
                "transform": [{"filter": {"field": "format", "oneOf": ROUNDINGS}}],
            },
            {"mark": {"type": "circle", "size": 50, "opacity": 1}},
        ],
    }
    return vegalite_to_svg(plot, config=LOOK)


def main() -> str:
    require("vl_convert")
    learned = sums.load(files.SUMS)
    schema, train = learned.schema, learned.sums
    [test] = Sums.of_table(table.read(files.TEST).of(schema))
    model = LinearModel(**joblib.load(files.UNQUANT_PARAMS))
    ours, others = (
        [*score(coded, model, train, test)]
        for coded in (encode(model, train, schema), convert(model, train))
    )
    ways = ([each for each in ours if each.format == rounding] for rounding in ROUNDINGS)
    widths = (
        (best.bits, best.payload_bytes, best.growth, gptq.growth, nearest.growth, best.test_r2)
        for best, gptq, nearest in zip(*ways, strict=True)
    )
    print("Growth is that of the training MSE, in percent; bytes and test R² are of `optimal`.\n")
    print(write_table(("bits", "bytes", *ROUNDINGS, "test R²"), widths))
    header = ("format", "bits", "bytes", "growth", "test R²")
    print("The formats of others:\n", write_table(header, others), sep="\n")
    print("The best of so many bytes:\n", write_table(header, pick([*ours, *others])), sep="\n")
    with files.replacing(PICTURE) as part:
        part.write_text(draw([*others, *reversed(ours)]) + "\n", encoding="utf-8", newline="\n")
    return str(PICTURE)


if __name__ == "__main__":
    cli.finish(main, "formats")
