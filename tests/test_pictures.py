from pathlib import Path

import pytest

from stages import pictures
from stages.cli import InputError


@pytest.mark.parametrize("name", pictures.PLOTS)
def test_the_committed_pictures_are_those_of_the_reports(name: str) -> None:
    committed = Path(pictures.FOLDER, name).read_text(encoding="utf-8")
    assert committed == pictures.draw(pictures.PLOTS[name]) + "\n"


def test_a_plot_that_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"DVC does not show 'Nothing', .*: no such plot"):
        pictures.draw("Nothing")


def test_only_the_revision_is_dropped() -> None:
    x = {"field": "bits", "type": "quantitative"}
    assert pictures.without_revision({"x": x, "color": pictures.REVISION}) == {"x": x}
