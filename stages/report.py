"""Write the model as a page for people, `reports/model.html`, with all plots of `dvc.yaml`.

The page needs no network.
"""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vl_convert import vegalite_to_svg

from stages.predictor import document
from stages.predictor.page import page
from stages.predictor.payload import pack
from stages.project import cli, files
from stages.project.cli import InputError

# vl-convert brings the first font, so that those of this machine move nothing; where the picture
# is looked at without it, the letters of the second are as wide
FONT = {"font": "Liberation Sans, Arial, sans-serif"}
CLEAR = FONT | {"padding": 4, "background": None, "point": {"size": 14, "strokeWidth": 1}}
TAG = re.compile('<(?:[^">]|"[^"]*")*>')
NOISE = re.compile(
    ' (?:aria-[a-z]+|role|class|pointer-[a-z]+|font-family|clip-path|xm[^=]+)="[^"]*"'
)
UNSEEN = re.compile('<defs>.*?</defs>|<path d="[^"]*"(?: display="none")?/>')
POINT = r'<path transform="translate\([^)]*\)"'
POINTS = re.compile(rf"{POINT}( [^>]*>)(?:{POINT}\1){{9,}}")


def without_revision(node: dict[str, Any]) -> dict[str, Any]:
    """Drop the channels that tell revisions apart: there is one, and its legend is noise."""
    return {k: v for k, v in node.items() if not isinstance(v, dict) or v.get("field") != "rev"}


def plots() -> dict[str, dict[str, Any]]:
    """Return the plots of `dvc.yaml` in Vega-Lite, by name."""
    command = [sys.executable, "-m", "dvc", "plots", "show", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    shown = json.loads(done.stdout or "{}", object_hook=without_revision)
    if not shown.get("data") or shown.get("errors"):  # which DVC does not fail for
        raise InputError(f"DVC shows no plots, whose data `dvc repro` makes: {done.stderr.strip()}")
    return {name: revisions[0]["content"] for name, revisions in shown["data"].items()}


def inline(svg: str, name: str) -> str:
    """Return SVG as a page needs it: without what nobody sees, and each kind of point once.

    Many equal points become a path that is not drawn, but for its marker, the point. The ids of
    markers begin with `name`, so that no two plots have the same.
    """

    def path(points: re.Match[str]) -> str:
        at = re.findall(r"translate\(([^,]*),([^)]*)\)", points[0])
        places = " ".join(f"{float(x):.1f} {float(y):.1f}" for x, y in at)
        shape = f'id="{name}-{points.start()}" markerUnits="userSpaceOnUse" overflow="visible"'
        used = (f' marker-{at}="url(#{name}-{points.start()})"' for at in ("start", "mid", "end"))
        return f'<marker {shape}><path{points[1]}</marker><path d="M{places}"{"".join(used)}/>'

    bare = TAG.sub(lambda tag: NOISE.sub("", tag[0]), svg)
    return POINTS.sub(path, UNSEEN.sub("", bare))


def written(drawn: Mapping[str, str]) -> str:
    """Return the page of what the stages have made, with plots as SVG by title."""

    def rows(path: Path) -> list[dict[str, str]]:
        with files.existing(path).open(encoding="utf-8", newline="") as file:
            return [*csv.DictReader(file)]

    model, scores = document.load(files.PREDICTOR), document.load_scores()
    found = [row for row in rows(files.PLOTS / "weights.csv") if row["model"] == "float"]
    weights = [(float(row["weight"]), float(row["mean"])) for row in found]
    text, sample = files.PREDICTOR.read_bytes(), rows(files.PREDICTIONS)[0]
    return page(text, scores, weights, sample, pack(model), drawn)


def main() -> str:
    shown = plots()
    drawn = {}
    for number, plot in enumerate(shown.values()):
        title = plot.pop("title")["text"]
        drawn[title] = inline(vegalite_to_svg(plot, config=CLEAR), f"p{number}")
    with files.replacing(files.PAGE) as part:
        part.write_text(written(drawn), encoding="utf-8", newline="\n")
    return str(files.PAGE)


if __name__ == "__main__":
    cli.run(main, __doc__)
