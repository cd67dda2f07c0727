import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.columns.inputs import Input
from stages.predictor import document
from stages.predictor.document import Feature, Intercept
from stages.project.cli import InputError
from stages.quantizer.codes import Codes
from tests.conftest import EXAMPLE

TEXT = """\
{
  "format": "regression predictor",
  "version": 4,
  "dataset": "toy",
  "target": "y",
  "unit": "apples",
  "missing": "fail",
  "levels": {},
  "bits": 2,
  "intercept": {
    "number": 13,
    "exponent": 2
  },
  "features": [
    {
      "column": "a",
      "kind": "number",
      "min": 0.0,
      "max": 1.0,
      "code": 2,
      "exponent": 1
    },
    {
      "column": "b \\"é\\"",
      "kind": "number",
      "min": -1.5,
      "max": 2.0,
      "code": 1,
      "exponent": -2
    }
  ]
}
"""
OLD = """\
{
  "format": "regression predictor",
  "version": 2,
  "dataset": "toy",
  "target": "y",
  "unit": "apples",
  "bits": 2,
  "rounding": "optimal",
  "scale": 0.5,
  "offset": -1.0,
  "zero_point": 2.0,
  "intercept": {"code": 0, "scale": 1.0, "offset": 3.25},
  "features": [{"name": "a", "min": 0.0, "max": 1.0, "exponent": 0, "code": 3}]
}
"""


def test_the_file_is_this_text_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    document.save(EXAMPLE, path)
    assert path.read_bytes() == TEXT.encode()
    assert document.load(path) == EXAMPLE


def test_codes_stand_for_odd_numbers_and_weights() -> None:
    assert EXAMPLE.multipliers == (1, -1)  # 2 · 2 - 3 and 2 · 1 - 3
    assert EXAMPLE.coef == (0.5, -4.0)  # 1 / 2^1 and -1 / 2^-2
    assert EXAMPLE.intercept.value == 3.25  # 13 / 2^2


@given(st.data())
def test_codes_survive_the_file(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 16))
    n = data.draw(st.integers(1, 5))
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=n, max_size=n))
    exponents = data.draw(st.lists(st.integers(-900, 900), min_size=n, max_size=n))
    number, exponent = data.draw(st.integers(-(2**53), 2**53)), data.draw(st.integers(-900, 900))
    weights = Codes(bits, np.array(codes), np.array(exponents), number, exponent)
    features = zip("abcde", [0.0] * n, [1.0] * n, codes, exponents, strict=False)
    keys = ("column", "min", "max", "code", "exponent")
    fields = {
        "bits": bits,
        "intercept": {"number": number, "exponent": exponent},
        "features": [dict(zip(keys, feature, strict=True)) for feature in features],
    }
    found = document.parse(json.loads(json.dumps(json.loads(TEXT) | fields)), "x")
    assert found.multipliers == tuple(weights.multipliers.tolist())
    assert found.coef == tuple(weights.model.coef.tolist())
    assert found.intercept.value == weights.model.intercept


@pytest.mark.parametrize(
    ("feature", "levels"),
    [
        ({"missing": True, "fill": None}, {}),
        ({"level": "b"}, {}),
        ({"level": "b"}, {"b": ["a", "b"]}),
        ({"level": "b"}, {"a": ["b", "a"]}),  # the baseline is no input
    ],
)
def test_a_column_of_text_has_levels(feature: dict[str, Any], levels: dict[str, Any]) -> None:
    text = {"column": "a", "kind": "text", "min": 0.0, "max": 1.0, "code": 0, "exponent": 0}
    fields = {"missing": "mean", "levels": levels, "features": [text | {"fill": 0} | feature]}
    with pytest.raises(InputError, match=r"^x: a .* is none of the levels"):
        document.parse(json.loads(TEXT) | fields, "x")


@pytest.mark.parametrize(
    ("missing", "feature"),
    [("fail", {"fill": 1.0}), ("drop", {"missing": True}), ("mean", {})],
)
def test_fills_are_those_of_a_model_that_fills(missing: str, feature: dict[str, Any]) -> None:
    number = {"column": "a", "kind": "number", "min": 0.0, "max": 1.0, "code": 0, "exponent": 0}
    fields = {"missing": missing, "features": [number | feature]}
    with pytest.raises(InputError, match=rf"^x: fill of a .*, which is {missing}"):
        document.parse(json.loads(TEXT) | fields, "x")


def damaged(keys: tuple[Any, ...], value: Any) -> str:
    document = json.loads(TEXT)
    parent = document
    for key in keys[:-1]:
        parent = parent[key]
    if value is None:
        del parent[keys[-1]]
    else:
        parent[keys[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        (TEXT[:200], "not JSON"),
        (TEXT.replace("-1.5", "NaN"), "not JSON: NaN is not a finite number"),
        (TEXT.replace("-1.5", "-1e400"), "not JSON: -1e400 is not a finite number"),
        (TEXT.replace("13", "1e400"), "not JSON: 1e400 is not a finite number"),
        (TEXT.replace("13", "1" + "0" * 5000), "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        (TEXT.replace("13", "[" * 100_000 + "]" * 100_000), "not JSON"),
        ("[]", "not a predictor, its format must be"),
        (
            damaged(("format",), "gguf"),
            "not a predictor, its format must be 'regression predictor'",
        ),
        (
            damaged(("format",), ["\n"]),
            "not a predictor, its format must be 'regression predictor'",
        ),
        (OLD, "version 2 is unknown, this program reads 4: `dvc repro` makes it anew"),
        (damaged(("version",), "4\n"), "version '4\\n' is unknown"),
        (damaged(("version",), None), "version None is unknown"),
        (damaged(("bits",), None), "bits must be of type int, got None"),
        (damaged(("bits",), 8.0), "bits must be of type int, got 8.0"),
        (damaged(("bits",), True), "bits must be of type int, got True"),
        (damaged(("bits",), 17), "bits must be from 1 to 16, got 17"),
        (damaged(("bits",), 0), "bits must be from 1 to 16, got 0"),
        (damaged(("bits",), 10**4000), "bits must be from 1 to 16, got "),
        (damaged(("features", 0, "min"), 2.0), "min of a must not be above its max"),
        (damaged(("features", 0, "min"), "1"), "min must be of type int or float, got '1'"),
        (damaged(("features", 0, "max"), True), "max must be of type int or float, got True"),
        (damaged(("features", 0, "min"), -(10**400)), "features[0].min is too large"),
        (damaged(("features",), []), "features must not be empty"),
        (damaged(("features",), {}), "features must be of type list, got {}"),
        (damaged(("features", 1), 5), "features[1].column must be of type str, got None"),
        (damaged(("features", 1, "column"), "a"), "must have names of their own, got a, a"),
        (damaged(("features", 1, "column"), "b\nc"), "'b\\nc' does not print"),
        (damaged(("features", 0, "column"), "\ud800"), "does not print"),
        (damaged(("features", 0, "code"), 4), "code of a must be from 0 to 3, got 4"),
        (damaged(("features", 0, "code"), -1), "code of a must be from 0 to 3, got -1"),
        (damaged(("features", 0, "code"), 1.0), "features[0].code must be of type int, got 1.0"),
        (damaged(("features", 0, "code"), 10**4000), "code of a must be from 0 to 3, got "),
        (damaged(("features", 0, "exponent"), -5000), "exponents must be from -1000 to 1000"),
        (damaged(("features", 0, "exponent"), 1001), "exponents must be from -1000 to 1000"),
        (damaged(("features", 0, "exponent"), 10**4000), "exponents must be from -1000 to 1000"),
        (damaged(("features", 0, "exponent"), None), "features[0].exponent must be of type int"),
        (damaged(("intercept", "exponent"), -1001), "exponents must be from -1000 to 1000"),
        (damaged(("intercept", "exponent"), 1e3), "intercept.exponent must be of type int, got"),
        (damaged(("intercept", "number"), None), "intercept.number must be of type int, got None"),
        (damaged(("intercept", "number"), 3.0), "intercept.number must be of type int, got 3.0"),
        (damaged(("intercept", "number"), 10**4000), "must give a finite intercept and weights"),
        (damaged(("intercept",), {"number": 2**60, "exponent": -1000}), "must give a finite"),
        (damaged(("intercept",), 1.0), "intercept must be of type dict, got 1.0"),
        (damaged(("intercept",), []), "intercept must be of type dict, got []"),
        (damaged(("unit",), "a\nb"), "'a\\nb' does not print"),
        (damaged(("dataset",), "\x1b[2J"), "does not print"),
        (damaged(("target",), 5), "target must be of type str, got 5"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        document.load(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < len(str(path)) + 300


def test_sixteen_bits_at_the_ends_of_the_exponents_are_finite_and_kept(tmp_path: Path) -> None:
    features = (
        Feature(Input("a"), 0.0, 1.0, 0, 1000),
        Feature(Input("b"), 0.0, 1.0, 2**16 - 1, -1000),
    )
    largest = replace(EXAMPLE, bits=16, features=features, intercept=Intercept(0, -1000))
    document.save(largest, tmp_path / "predictor.json")
    assert document.load(tmp_path / "predictor.json") == largest
    assert largest.coef == (-65535 / 2.0**1000, 65535 * 2.0**1000)
