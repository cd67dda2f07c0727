"""The model: its document byte by byte and what is refused, and its payload bit by bit."""

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stages.columns.inputs import Input
from stages.predictor import document
from stages.predictor.document import Intercept, Predictor
from stages.predictor.payload import pack
from stages.project import files
from stages.project.cli import InputError
from tests.conftest import EXAMPLE, feature

TEXT = """\
{
  "format": "regression predictor",
  "version": 5,
  "dataset": "toy",
  "target": "y",
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


def model_of(bits: int, weights: list[tuple[int, int]], number: int, exponent: int) -> Predictor:
    """Make a model of codes and exponents."""
    features = (feature(Input(f"f{j}"), 0.0, 1.0, *weight) for j, weight in enumerate(weights))
    intercept = Intercept(number, exponent)
    return replace(EXAMPLE, bits=bits, intercept=intercept, features=tuple(features))


@st.composite
def models(draw: st.DrawFn) -> Predictor:
    bits, least = draw(st.integers(1, 16)), draw(st.integers(-1000, 1000))
    exponents = st.integers(least, draw(st.integers(least, 1000)))
    weights = st.lists(st.tuples(st.integers(0, 2**bits - 1), exponents), min_size=1, max_size=6)
    odd_number = st.integers(-(2**51), 2**51).map(lambda k: 2 * k + 1)
    return model_of(bits, draw(weights), draw(odd_number), draw(st.integers(-900, 1000)))


# also the ends of exponents, of codes, and of what the bytes leave to the intercept
EDGES = [
    model_of(1, [(0, 0)], 0, 0),
    model_of(1, [(1, 0)], -1, 16),
    model_of(16, [(0, -1000), (65535, 1000), (65535, -1000)], -1, 1000),
    model_of(2, [(1, 950)], -1, -950),
    model_of(2, [(1, 950)], -129, 0),
    model_of(2, [(1, 950)], 127, 0),
]
MODELS = st.sampled_from(EDGES) | models()


def test_codes_stand_for_odd_numbers_and_weights() -> None:
    assert EXAMPLE.multipliers == (1, -1)  # 2 · 2 - 3 and 2 · 1 - 3
    assert EXAMPLE.coef == (0.5, -4.0)  # 1 / 2^1 and -1 / 2^-2
    assert EXAMPLE.intercept.value == 3.25  # 13 / 2^2


def test_the_file_is_this_text_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    files.save_json(EXAMPLE, path)
    assert path.read_bytes() == TEXT.encode()
    assert document.load(path) == EXAMPLE


@given(MODELS)
def test_a_predictor_is_that_of_its_weights_and_comes_back(model: Predictor) -> None:
    inputs = tuple(Input(f"f{j}") for j in range(len(model.features)))
    plain, ranges = replace(model.schema, inputs=inputs), [(0.0, 1.0)] * len(inputs)
    made = Predictor.of(plain, model.bits, ranges, model.coef, model.intercept.value)
    assert made == model
    with TemporaryDirectory() as folder:
        files.save_json(model, Path(folder, "predictor.json"))
        assert document.load(Path(folder, "predictor.json")) == model


def test_a_product_comes_back_with_its_factors(tmp_path: Path) -> None:
    factors = Input("a"), Input("s", "text", "yes", reading=None)
    term = Input("a / s = yes", "product", factors=factors, operators="*/", fill=0.5)
    features = (*EXAMPLE.features, feature(term, 0.0, 1.0, 2, 1))
    model = replace(EXAMPLE, levels={"s": ("yes", "no")}, features=features)
    files.save_json(model, tmp_path / "predictor.json")
    assert document.load(tmp_path / "predictor.json") == model
    stored = json.loads((tmp_path / "predictor.json").read_bytes())["features"][2]
    assert stored == {
        "column": "a / s = yes",
        "kind": "product",
        "fill": 0.5,
        "factors": [
            {"column": "a", "kind": "number"},
            {"column": "s", "kind": "text", "level": "yes"},
        ],
        "operators": "*/",
        "min": 0.0,
        "max": 1.0,
        "code": 2,
        "exponent": 1,
    }
    with pytest.raises(ValueError, match="s = yes is none of the levels"):
        replace(model, levels={"s": ("no",)})


NUMBER = {"column": "a", "kind": "number", "min": 0.0, "max": 1.0, "code": 0, "exponent": 0}
LEVEL = NUMBER | {"kind": "text", "level": "b", "fill": 0}


def change(*keys: Any, to: Any = None, **head: Any) -> str:
    """Return the text with another value at a path, or with none, and with other heads."""
    parent = whole = json.loads(TEXT) | head
    for key in keys[:-1]:
        parent = parent[key]
    for key in keys[-1:]:
        parent[key] = to
        if to is None:
            del parent[key]
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "truncated"),
        (change(format="gguf"), "format: Invalid value 'gguf'"),
        (change(version=2), "version"),
        (change("bits"), "Object missing required field `bits`"),
        (change(bits=17), "bits: Expected `int` <= 16, got 17"),
        (change(more=0), "unknown field `more`"),
        (change("features", 0, "min", to="1"), "features[0].min: Expected `float`, got '1'"),
        (change("features", 1, "column", to="a"), "must have names of their own, got a, a"),
        (change("features", 0, "kind", to="word"), "features[0]: a is no input of a word"),
        (change("features", 0, "code", to=4), "code of a has more than 2 bits"),
        (change(missing="median"), "missing: must be one of drop, fail, mean, got 'median'"),
        (change(dataset="\x1b[2J"), "'\\x1b[2J' does not print"),
        (change(missing="mean", features=[LEVEL]), "is none of the levels"),
        # the baseline is no input
        (change(missing="mean", levels={"a": ["b"]}, features=[LEVEL]), "none of the levels"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        document.load(path)
    found = str(raised.value)
    assert found.startswith(path.as_posix())
    assert message in found
    assert "`dvc repro` makes it" in found
    assert len(found.splitlines()) == 1


@dataclass
class Bits:
    """The bits of a payload, whose layout its module has."""

    left: str

    def take(self, count: int) -> int:
        taken, self.left = self.left[:count], self.left[count:]
        return int(taken or "0", 2)

    def take_grouped(self) -> int:
        x = k = 0
        while True:
            more, group = self.take(1), self.take(5)
            x, k = x + (group << 5 * k), k + 1
            if not more:
                return -(x + 1) // 2 if x % 2 else x // 2


def unpack(payload: bytes, n_features: int) -> tuple[list[Fraction], Fraction, str]:
    """Return the weights, the intercept, and the bits that the intercept's number has."""
    bits = Bits("".join(f"{byte:08b}" for byte in payload))
    n, width, least = bits.take(4) + 1, bits.take(4), bits.take_grouped()
    exponent = least + bits.take_grouped()
    weights = [
        (2 * bits.take(n) - (2**n - 1)) * Fraction(2) ** -(least + bits.take(width))
        for _ in range(n_features)
    ]
    number = int(bits.left, 2) - int(bits.left[0]) * 2 ** len(bits.left)
    return weights, number * Fraction(2) ** -exponent, bits.left


@given(MODELS)
def test_a_payload_holds_weights_and_intercept_and_no_byte_more(model: Predictor) -> None:
    weights, intercept, rest = unpack(pack(model), len(model.features))
    assert weights == list(map(Fraction, model.coef))
    number = model.intercept.number
    assert intercept == number * Fraction(2) ** -model.intercept.exponent
    fewer = len(rest) - 8  # with a byte less, in two's complement
    assert fewer < 1 or not -(2 ** (fewer - 1)) <= number < 2 ** (fewer - 1)


@pytest.mark.parametrize("path", [files.PAGE, files.CARD])
def test_a_report_must_be_of_the_predictor_and_its_scores(path: Path, tmp_path: Path) -> None:
    for each in (path, files.PREDICTOR, files.SCORES):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).write_text("", encoding="utf-8")
    message = f"no {path.as_posix()} is of this model: `python -m stages.report` makes it"
    for text in (None, "of sha256:0000"):
        if text is None:
            (tmp_path / path).unlink()
        else:
            (tmp_path / path).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            document.read_report(path, tmp_path)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing
    (tmp_path / path).write_text(f"of {empty}.", encoding="utf-8")
    assert document.read_report(path, tmp_path) == f"of {empty}.".encode()
    (tmp_path / files.SCORES).write_text("others", encoding="utf-8")
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        document.read_report(path, tmp_path)
    (tmp_path / files.SCORES).unlink()
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        document.read_report(path, tmp_path)
