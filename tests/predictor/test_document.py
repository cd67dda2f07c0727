import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stages.columns.inputs import Input
from stages.predictor import document
from stages.predictor.document import Intercept, Predictor, odd
from stages.project.cli import InputError
from stages.project.typed import convert
from tests.conftest import EXAMPLE, feature

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


@pytest.mark.parametrize("bits", range(1, 17))
def test_codes_of_every_width_are_all_odd_numbers_of_these_bits(bits: int) -> None:
    codes = range(2**bits) if bits < 8 else (0, 1, 2**bits - 2, 2**bits - 1)
    features = tuple(feature(Input(f"f{c}"), 0.0, 1.0, c, 0) for c in codes)
    model = replace(EXAMPLE, bits=bits, features=features)
    assert set(model.multipliers) <= set(range(1 - 2**bits, 2**bits, 2))
    assert len(set(model.multipliers)) == len(codes)
    # in the field's words: scale · (code - zero_point), with the scale 2^(1 - exponent)
    assert list(model.coef) == [2 * (c - (2**bits - 1) / 2) for c in codes]


@given(st.data())
def test_a_predictor_is_that_of_its_weights(data: st.DataObject) -> None:
    bits, n = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 5))
    code, exponent = st.integers(0, 2**bits - 1), st.integers(-900, 900)
    each = data.draw(st.lists(st.tuples(code, exponent), min_size=n, max_size=n))
    number = data.draw(st.integers(-(2**51), 2**51).map(lambda k: 2 * k + 1))
    whole = Intercept(number, data.draw(exponent))
    features = tuple(feature(Input(f"f{j}"), -1.0, 1.0, *w) for j, w in enumerate(each))
    model = replace(EXAMPLE, bits=bits, intercept=whole, features=features)
    ranges = [(-1.0, 1.0)] * n
    plain = replace(model.schema, inputs=tuple(Input(f"f{j}") for j in range(n)))
    assert Predictor.of(plain, bits, ranges, model.coef, whole.value) == model


@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
def test_odd_times_a_power_of_two_is_the_value(value: float) -> None:
    number, exponent = odd(value)
    assert number % 2 == 1
    assert number * Fraction(2) ** -exponent == Fraction(value)


def test_odd_by_hand() -> None:
    assert odd(12.0) == (3, -2)
    assert odd(-0.625) == (-5, 3)
    assert odd(1.0) == (1, 0)
    assert odd(0.0) == (0, 0)


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
    with pytest.raises(ValueError, match=r"is none of the levels"):
        convert(json.loads(TEXT) | fields, Predictor)


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
        ("", "truncated"),
        (TEXT[:200], "truncated"),
        (TEXT.replace("-1.5", "NaN"), "malformed"),
        (TEXT.replace("-1.5", "-1e400"), "out of range"),
        (TEXT.replace("13", "1" + "0" * 5000), "out of range"),
        ("[" * 100_000, "recursion"),
        ("[]", "Expected `object`, got []"),
        (damaged(("format",), "gguf"), "format: Invalid value 'gguf'"),
        (OLD, "version: Invalid enum value 2"),
        (damaged(("version",), "4\n"), "version: Expected `int`, got '4"),
        (damaged(("bits",), None), "Object missing required field `bits`"),
        (damaged(("bits",), 8.0), "bits: Expected `int`, got 8.0"),
        (damaged(("bits",), True), "bits: Expected `int`, got True"),
        (damaged(("bits",), 17), "bits: Expected `int` <= 16, got 17"),
        (damaged(("bits",), 0), "bits: Expected `int` >= 1, got 0"),
        (damaged(("more",), 0), "unknown field `more`"),
        (damaged(("features", 0, "min"), "1"), "features[0].min: Expected `float`, got '1'"),
        (damaged(("features", 0, "max"), True), "features[0].max: Expected `float`, got True"),
        (damaged(("features", 0, "min"), -(10**400)), "out of range"),
        (damaged(("features",), []), "features must not be empty"),
        (damaged(("features",), {}), "features: Expected `array`, got {}"),
        (damaged(("features", 1), 5), "features[1]: Expected `object`, got 5"),
        (damaged(("features", 1, "column"), "a"), "must have names of their own, got a, a"),
        (damaged(("features", 1, "column"), "b\nc"), "'b\\nc' does not print"),
        (damaged(("features", 0, "kind"), "word"), "features[0]: a is no input of a word"),
        (damaged(("features", 0, "code"), 4), "code of a has more than 2 bits"),
        (damaged(("features", 0, "code"), -1), "features[0].code: Expected `int` >= 0, got -1"),
        (damaged(("features", 0, "code"), 1.0), "features[0].code: Expected `int`, got 1.0"),
        (damaged(("features", 0, "exponent"), -5000), "exponent: Expected `int` >= -1000, got"),
        (damaged(("features", 0, "exponent"), 1001), "exponent: Expected `int` <= 1000, got 1001"),
        (damaged(("features", 0, "exponent"), None), "missing required field `exponent`"),
        (damaged(("intercept", "exponent"), -1001), "intercept.exponent: Expected `int` >= -1000"),
        (
            damaged(("intercept", "number"), None),
            "intercept: Object missing required field `number`",
        ),
        (damaged(("intercept", "number"), 3.0), "intercept.number: Expected `int`, got 3.0"),
        (damaged(("intercept",), 1.0), "intercept: Expected `object`, got 1.0"),
        (damaged(("missing",), "median"), "missing: Invalid enum value 'median'"),
        (damaged(("levels",), {"a": [5]}), "levels[...][0]: Expected `str`, got {'a': [5]}"),
        (damaged(("unit",), "a\nb"), "'a\\nb' does not print"),
        (damaged(("dataset",), "\x1b[2J"), "does not print"),
        (damaged(("target",), 5), "target: Expected `str`, got 5"),
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
    assert len(str(raised.value)) < len(str(path)) + 400
    assert "`dvc repro` makes it" in str(raised.value)


def test_sixteen_bits_at_the_ends_of_the_exponents_are_finite_and_kept(tmp_path: Path) -> None:
    features = (
        feature(Input("a"), 0.0, 1.0, 0, 1000),
        feature(Input("b"), 0.0, 1.0, 2**16 - 1, -1000),
    )
    largest = replace(EXAMPLE, bits=16, features=features, intercept=Intercept(0, -1000))
    document.save(largest, tmp_path / "predictor.json")
    assert document.load(tmp_path / "predictor.json") == largest
    assert largest.coef == (-65535 / 2.0**1000, 65535 * 2.0**1000)
