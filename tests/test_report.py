from pathlib import Path

import pytest

from stages import report
from stages.project.cli import InputError
from stages.project.files import PICTURES


@pytest.mark.parametrize("name", report.PLOTS)
def test_the_committed_pictures_are_those_of_the_reports(name: str) -> None:
    committed = Path(PICTURES, name).read_text(encoding="utf-8")
    assert committed == report.draw(report.PLOTS[name]) + "\n"


def test_a_plot_that_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"DVC does not show 'Nothing', .*: no such plot"):
        report.draw("Nothing")


def test_only_the_revision_is_dropped() -> None:
    x = {"field": "bits", "type": "quantitative"}
    assert report.without_revision({"x": x, "color": report.REVISION}) == {"x": x}
