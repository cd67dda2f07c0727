"""The templates of the plots, drawn from rows as DVC fills them in."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow  # to start Vega takes a second

SIDE = 280  # of a square plot
Row = dict[str, Any]
SHIFT = re.compile(r"translate\((.*),(.*)\)")


def draw(template: str, rows: Iterable[Row], x: str, y: str) -> ElementTree.Element:
    """Return the plot of rows as SVG; the numbers are texts, as in CSV."""
    from vl_convert import vegalite_to_svg

    text = Path(f".dvc/plots/{template}.json").read_text(encoding="utf-8")
    for anchor, value in {"X": x, "Y": y, "X_LABEL": "x", "Y_LABEL": "y", "TITLE": ""}.items():
        text = text.replace(f"<DVC_METRIC_{anchor}>", value)
    data = [{key: str(value) for key, value in row.items()} | {"rev": "workspace"} for row in rows]
    svg = vegalite_to_svg(json.loads(text.replace('"<DVC_METRIC_DATA>"', json.dumps(data))))
    return ElementTree.fromstring(svg)  # noqa: S314


def places(svg: ElementTree.Element, mark: str) -> list[tuple[float, float]]:
    """Return where the marks of a kind are, in pixels from the upper left corner of the frame."""
    groups = [g for g in svg.iter() if f"mark-{mark} role-mark" in g.get("class", "")]
    shifts = [SHIFT.fullmatch(it.get("transform", "")) for group in groups for it in group]
    return [(float(it[1]), float(it[2])) for it in shifts if it]


def ticks(svg: ElementTree.Element) -> list[list[str]]:
    """Return the labels of both axes."""
    groups = [g for g in svg.iter() if "role-axis-label" in g.get("class", "")]
    return [[it.text or "" for it in group] for group in groups]


@pytest.mark.parametrize(("low", "high"), [(9, 100), (-2.5e6, 1.25e6), (0.001, 0.003), (7, 7)])
def test_predicted_and_actual_have_one_scale(low: float, high: float) -> None:
    rows = [{"actual": low, "quantized": high}, {"actual": high, "quantized": (low + high) / 2}]
    svg = draw("predictions", rows, "actual", "quantized")
    # the diagonal ends in two corners of the frame
    [line] = (it for it in svg.findall(".//{*}line") if it.get("stroke-dasharray") == "6,4")
    ends = [float(line.get(name, 0)) for name in ("x2", "y2")]
    assert places(svg, "rule") == [(0, SIDE)]
    assert ends == [SIDE, -SIDE]
    # each point has its own place on it; the margin is a 25th of what the points span
    share = [(value - low) / (high - low) if high > low else 0.5 for value in (low, high)]
    margin = 1 / 25 if high > low else 0
    at = [SIDE * (each + margin) / (1 + 2 * margin) for each in share]
    (x, y), (x_2, y_2) = places(svg, "symbol")
    assert (x, x_2) == pytest.approx(at, abs=0.01)
    assert (SIDE - y, SIDE - y_2) == pytest.approx((at[1], sum(at) / 2), abs=0.01)
    first, second = ticks(svg)
    assert first == second
    assert all(len(label) <= 6 for label in first)


def test_residuals_lie_around_a_line_at_zero() -> None:
    rows = [{"quantized": 1, "error": -1}, {"quantized": 2, "error": 3}]
    svg = draw("residuals", rows, "quantized", "error")
    [(_, zero)] = places(svg, "rule")
    (_, below), (_, above) = places(svg, "symbol")
    assert (zero - above) == pytest.approx(3 * (below - zero), abs=0.01)


def test_effects_are_in_the_frame_with_their_intervals_and_the_largest_is_first() -> None:
    rows = [
        {"feature": "(intercept)", "coefficient": 5, "per_std": "", "low": 4, "high": 6},
        {"feature": "a", "coefficient": 2, "per_std": 1, "low": 1, "high": 3},
        {"feature": "b", "coefficient": -4, "per_std": -8, "low": -4.5, "high": -3.5},
        {"feature": "c", "coefficient": 0, "per_std": 0, "low": -1, "high": 1},
        {"feature": "d", "coefficient": 1, "per_std": 2, "low": "", "high": ""},
    ]
    svg = draw("coefficients", rows, "per_std", "feature")
    assert ticks(svg)[1] == ["b", "d", "a", "c"]
    by_feature = dict(zip("abcd", places(svg, "symbol"), strict=True))
    (zero, _), *lines = places(svg, "rule")
    unit = by_feature["a"][0] - zero
    effects = {name: (x - zero) / unit for name, (x, _) in by_feature.items()}
    assert effects == pytest.approx({"a": 1, "b": -8, "c": 0, "d": 2}, abs=0.01)
    assert all(5 <= x <= SIDE - 5 for x, _ in by_feature.values())
    # times the deviations, 0.5 and 2
    assert [(x - zero) / unit for x, _ in lines] == pytest.approx([0.5, -9], abs=0.01)


def test_a_weight_and_its_code_are_both_seen_where_they_coincide() -> None:
    rows = [{"feature": "a", "model": model, "effect": 1.5} for model in ("float", "quantized")]
    svg = draw("weights", rows, "effect", "feature")
    first, second = places(svg, "symbol")
    assert first == second
    paths = [it.get("d", "") for it in svg.findall(".//{*}path") if "A" in it.get("d", "")]
    large, small = (float(d[1:].partition(",")[0]) for d in paths[:2])
    assert large > 2 * small


@pytest.mark.parametrize(("template", "x"), [("coefficients", "per_std"), ("weights", "effect")])
def test_long_names_are_cut_in_the_middle_and_never_alike(template: str, x: str) -> None:
    names = ["x" * n + middle + "y" * 30 for n in (5, 30) for middle in ("", "a", "b", "ab" * 30)]
    names += ["short", "z" * 40]
    rows = [{"feature": name, "model": "float", x: 1, "low": ""} for name in names]
    _, labels = ticks(draw(template, rows, x, "feature"))
    assert len({*labels}) == len(names)
    assert max(map(len, labels)) <= 40 + len(" (99)")
    assert {"short", "z" * 40} < {*labels}
