import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.predictor import document
from stages.predictor.document import Feature
from stages.project.cli import InputError
from stages.quantizer.affine import QuantizedWeights
from tests.conftest import EXAMPLE

TEXT = """\
{
  "format": "cali-reg predictor",
  "version": 2,
  "dataset": "toy",
  "target": "y",
  "unit": "apples",
  "bits": 2,
  "rounding": "optimal",
  "scale": 0.5,
  "offset": -1.0,
  "zero_point": 2.0,
  "intercept": {
    "code": 0,
    "scale": 1.0,
    "offset": 3.25
  },
  "features": [
    {
      "name": "a",
      "min": 0.0,
      "max": 1.0,
      "exponent": 0,
      "code": 3
    },
    {
      "name": "b \\"é\\"",
      "min": -1.5,
      "max": 2.0,
      "exponent": -2,
      "code": 0
    }
  ]
}
"""


def test_the_file_is_this_text_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    document.save(EXAMPLE, path)
    assert path.read_bytes() == TEXT.encode()
    assert document.load(path) == EXAMPLE


def test_codes_stand_for_weights() -> None:
    assert EXAMPLE.coef == (0.5, -4.0)  # 2^0 (-1 + 0.5 · 3) and 2^2 (-1 + 0.5 · 0)
    assert EXAMPLE.intercept.value == 3.25


@given(st.data())
def test_codes_survive_the_file(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 16))
    n = data.draw(st.integers(1, 5))
    codes = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=n, max_size=n))
    exponents = data.draw(st.lists(st.integers(-40, 40), min_size=n, max_size=n))
    scale, offset = (data.draw(st.floats(2**-20, 8, width=32)) for _ in range(2))
    weights = QuantizedWeights(bits, np.array(codes), np.array(exponents), scale, -offset)
    features = zip("abcde", [0.0] * n, [1.0] * n, exponents, codes, strict=False)
    text = json.loads(TEXT) | {
        "bits": bits,
        "scale": weights.scale,
        "offset": weights.offset,
        "features": [vars(Feature(*feature)) for feature in features],
    }
    assert document.parse(text, "x").coef == tuple(weights.coef.tolist())


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
        (TEXT.replace("3.25", "NaN"), "not JSON: NaN is not a finite number"),
        (TEXT.replace("3.25", "1" + "0" * 5000), "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a predictor, its format must be 'cali-reg predictor'"),
        (damaged(("format",), "gguf"), "not a predictor, its format must be 'cali-reg predictor'"),
        (damaged(("version",), 1), "version 1 is unknown, this program reads 2"),
        (damaged(("bits",), None), "bits must be of type int, got None"),
        (damaged(("bits",), 8.0), "bits must be of type int, got 8.0"),
        (damaged(("bits",), 17), "bits must be from 1 to 16, got 17"),
        (damaged(("scale",), "1"), "scale must be of type int or float, got '1'"),
        (damaged(("scale",), -1), "scale must be positive, got -1"),
        (damaged(("features", 0, "min"), 2.0), "min of a must not be above its max"),
        (damaged(("scale",), True), "scale must be of type int or float, got True"),
        (damaged(("scale",), 1e308), "must give finite weights"),
        (damaged(("features", 0, "exponent"), -5000), "must give finite weights"),
        (damaged(("intercept", "offset"), None), "intercept.offset must be of type int or float"),
        (damaged(("intercept",), 1.0), "intercept must be of type dict, got 1.0"),
        (damaged(("features",), []), "features must not be empty"),
        (damaged(("features", 1), 5), "features[1].name must be of type str, got None"),
        (damaged(("features", 1, "name"), "a"), "must have names of their own, got a, a"),
        (damaged(("features", 0, "code"), 4), "code of a must be from 0 to 3, got 4"),
        (damaged(("features", 0, "min"), -(10**400)), "min is too large"),
        (damaged(("features", 0, "name"), "\ud800"), "does not print"),
        (damaged(("unit",), "a\nb"), "does not print"),
        (damaged(("features", 0, "exponent"), -(10**30)), "must give finite weights"),
        (damaged(("features", 0, "code"), -1), "code of a must be from 0 to 3, got -1"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "predictor.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        document.load(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
