import re
from pathlib import Path

import html5lib
import pytest

from stages import report
from stages.project import files
from stages.project.cli import InputError
from stages.project.files import PAGE

CIRCLE = ' d="M1,0A1,1,0,1,1,-1,0" stroke="#4c78a8"/>'


def test_what_is_committed_is_what_report_makes_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PAGE", tmp_path / PAGE.name)
    report.main()
    made = (tmp_path / PAGE.name).read_text(encoding="utf-8")
    assert made == PAGE.read_text(encoding="utf-8")


def test_the_page_has_every_plot_in_full() -> None:
    root = html5lib.parse(PAGE.read_text(encoding="utf-8"), namespaceHTMLElements=False)
    titles = ["".join(node.itertext()) for node in root.iter("figcaption")]
    assert titles == [plot["title"]["text"] for plot in report.plots().values()]
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len({*ids})
    used = {*re.findall(r"url\(#([^)]+)\)", PAGE.read_text(encoding="utf-8"))}
    assert used
    assert used <= {*ids}


def test_data_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "true")  # prints nothing
    with pytest.raises(InputError, match="DVC shows no plots, whose data `dvc repro` makes"):
        report.plots()


def test_only_the_revision_is_dropped() -> None:
    x = {"field": "bits", "type": "quantitative"}
    revision = {"field": "rev", "type": "nominal"}
    assert report.without_revision({"x": x, "color": revision}) == {"x": x}


def test_equal_points_are_drawn_once_and_what_nobody_sees_is_left_out() -> None:
    points = [(n, 300 - n / 7) for n in range(20)]
    paths = "".join(f'<path transform="translate({x},{y})"{CIRCLE}' for x, y in points)
    other = CIRCLE.replace("M1", "M2")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="marks"><defs><clipPath/></defs>'
        f'<g role="img" aria-label="a > b"><path d="" display="none"/>{paths}'
        f'<path transform="translate(1,2)"{other}<text>class="a"</text></g></svg>'
    )
    places = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
    found = report.inline(svg, "p0")
    shape = re.search('marker id="(p0-[0-9]+)"', found)
    assert shape
    ends = " ".join(f'marker-{end}="url(#{shape[1]})"' for end in ("start", "mid", "end"))
    assert found == (
        f'<svg><g><marker id="{shape[1]}" markerUnits="userSpaceOnUse" overflow="visible">'
        f'<path{CIRCLE}</marker><path d="M{places}" {ends}/>'
        f'<path transform="translate(1,2)"{other}<text>class="a"</text></g></svg>'
    )
