"""Draw two plots of `dvc plots show` as SVG, for where its page cannot be opened."""

import json
import subprocess
import sys
from typing import Any

from stages.project import cli
from stages.project.cli import InputError
from stages.project.files import PICTURES, replacing

PLOTS = {"quantization.svg": "Payload", "predictions.svg": "Predicted against actual"}
CONFIG = {
    "padding": 12,
    "background": "white",  # opaque, to be read on a dark page too
    # vl-convert brings the first, so that the fonts of this machine move nothing; where the
    # picture is looked at without it, the letters of the second are as wide
    "font": "Liberation Sans, Arial, sans-serif",
}
REVISION = {"field": "rev", "type": "nominal"}


def without_revision(node: dict[str, Any]) -> dict[str, Any]:
    """Drop the channel that tells revisions apart: there is one, and its legend is noise."""
    return {key: value for key, value in node.items() if value != REVISION}


def draw(plot: str) -> str:
    """Return the SVG of a plot of `dvc.yaml`."""
    import vl_convert

    command = [sys.executable, "-m", "dvc", "plots", "show", "--show-vega", plot]
    shown = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    spec = json.loads(shown.stdout or "{}", object_hook=without_revision)
    if not spec:  # of which DVC makes no error
        reason = shown.stderr.partition("\n")[0] or "no such plot"
        raise InputError(f"DVC does not show {plot!r}, whose data `dvc repro` makes: {reason}")
    return vl_convert.vegalite_to_svg(spec, config=CONFIG)


def main() -> str:
    for name, plot in PLOTS.items():
        with replacing(PICTURES / name) as part:
            part.write_text(draw(plot) + "\n", encoding="utf-8", newline="\n")
    return f"{len(PLOTS)} pictures in {PICTURES}"


if __name__ == "__main__":
    cli.run(main, __doc__)
