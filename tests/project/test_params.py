from pathlib import Path

import pytest

from stages.project import params
from stages.project.cli import InputError

VALID = """\
load: {dataset: diabetes, target: null, features: null, unit: null, key: null, missing: fail,
  levels: 50, test_size: 0.25, seed: 0}
quantize: {bits: 1, rounding: nearest}
evaluate: {samples: 5}
gate: {min_r2: -1, max_r2_drop: 0}
"""


def read(text: str, folder: Path) -> params.Params:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return params.read(path)


def test_values_are_typed(tmp_path: Path) -> None:
    assert read(VALID, tmp_path) == params.Params(
        params.Load("diabetes", None, None, None, None, "fail", 50, 0.25, 0),
        params.Quantize(1, "nearest"),
        params.Evaluate(5),
        params.Gate(-1, 0),
    )


def test_the_gate_may_set_no_least_r2(tmp_path: Path) -> None:
    assert read(VALID.replace("min_r2: -1", "min_r2: null"), tmp_path).gate == params.Gate(None, 0)


def test_the_project_s_own_file_is_valid() -> None:
    params.read()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bits: 1", "bits: 0", "quantize.bits must be an integer from 1 to 16, got 0"),
        ("bits: 1", "bits: 17", "quantize.bits must be an integer from 1 to 16, got 17"),
        ("bits: 1", "bits: 8.0", "quantize.bits must be an integer from 1 to 16, got 8.0"),
        ("bits: 1", "bits: true", "quantize.bits must be an integer from 1 to 16, got True"),
        ("bits: 1", "bits: '8'", "quantize.bits must be an integer from 1 to 16, got '8'"),
        ("bits: 1", "bits: null", "quantize.bits must be an integer from 1 to 16, got None"),
        ("nearest", "best", "quantize.rounding must be optimal, gptq or nearest, got 'best'"),
        ("nearest", "[nearest]", "must be optimal, gptq or nearest, got ['nearest']"),
        ("0.25", "1", "load.test_size must be a number between 0 and 1, both excluded, got 1"),
        ("0.25", ".nan", "load.test_size must be a number between 0 and 1, both excluded, got nan"),
        ("fail", "median", "load.missing must be fail, drop or mean, got 'median'"),
        ("levels: 50", "levels: 0", "load.levels must be an integer from 1 to 1000, got 0"),
        ("seed: 0", "seed: -1", "load.seed must be an integer from 0 to 4294967295, got -1"),
        ("diabetes", "7", "load.dataset must be the name of a data set, or a file, got 7"),
        ("target: null", "target: ''", "load.target must be the name of a column, or null, got ''"),
        ("target: null", 'target: "a\\nb"', "load: 'a\\nb' does not print"),
        ("unit: null", "unit: 5", "load.unit must be a text, or null, got 5"),
        *(
            ("features: null", f"features: {value}", "must be a list of different columns, or null")
            for value in ("[]", "a", "{a: b}")
        ),
        ("features: null", "features: [a, 5]", "load.features[1]: Expected `str`, got 5"),
        ("features: null", "features: [a, '']", "load.features[1]: Expected `str` of length >= 1"),
        ("features: null", "features: [a, a]", "features must be different columns, got a, a"),
        *(
            ("key: null", f"key: {value}", "load.key must be a column, a list of different columns")
            for value in ("''", "5", "[]", "{a: b}")
        ),
        ("key: null", "key: [a, a]", "load: key must be different columns, got a, a"),
        ("samples: 5", "samples: 4", "evaluate.samples must be an integer from 5 to 1000, got 4"),
        ("min_r2: -1", "min_r2: 1.1", "gate.min_r2 must be a number of at most 1, or null"),
        ("min_r2: -1", "min_r2: .inf", "gate.min_r2 must be a number of at most 1, or null"),
        ("drop: 0", "drop: null", "gate.max_r2_drop must be a number of at least 0, got None"),
        ("drop: 0", "drop: -0.1", "gate.max_r2_drop must be a number of at least 0, got -0.1"),
        (
            "bits: 1",
            "bit: 1",
            "quantize must have the keys bits, rounding: Object contains unknown field `bit`",
        ),
        ("load:", '"x - at `$.y": 1\nload:', "evaluate, gate: Object contains unknown"),
        ("bits: 1, ", "", "bits, rounding: Object missing required field `bits`"),
        (
            "load:",
            "laod:",
            "keys load, quantize, evaluate, gate: Object contains unknown field `laod`",
        ),
        (
            VALID,
            "",
            "params.yaml: must have the keys load, quantize, evaluate, gate: Expected `object`",
        ),
        (
            VALID,
            "- 1",
            "params.yaml: must have the keys load, quantize, evaluate, gate: Expected `object`",
        ),
        (
            "{bits: 1, rounding: nearest}",
            "8",
            "quantize must have the keys bits, rounding: Expected `object`, got `int`",
        ),
        ("{bits", "{bits: [", "not valid YAML"),
        ("{bits: 1, ", "{bits: 1, bits: 2, ", "not valid YAML"),
        ("seed: 0", "seed: 2020-13-45", "not valid YAML"),
        ("seed: 0", "seed: !!int x", "not valid YAML"),
        ("seed: 0", "seed: " + "[" * 3000, "not valid YAML"),
        ("seed: 0", "seed: " + "9" * 5000, "not valid YAML"),
        ("0.25", "9" * 400, "load.test_size must be a number between 0 and 1, both excluded"),
        ("bits: 1", "bits: " + "x" * 10**5, "must be an integer from 1 to 16, got 'xxx"),
        ("diabetes", "!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_bad_values_are_named(before: str, after: str, message: str, tmp_path: Path) -> None:
    assert before in VALID
    with pytest.raises(InputError) as raised:
        read(VALID.replace(before, after, 1), tmp_path)
    text = str(raised.value)
    assert message in text
    assert str(tmp_path / "params.yaml") in text
    assert "\n" not in text
    assert len(text) < 1000


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("1E-05", 1e-5), ("1.5e+0", 1.5), ("010", 10), ("0o10", 8)]
)
def test_numbers_are_those_that_dvc_reads(text: str, value: float, tmp_path: Path) -> None:
    found = read(VALID.replace("drop: 0", f"drop: {text}"), tmp_path)
    assert found.gate.max_r2_drop == value


def test_bytes_that_are_not_text_are_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"load: \xff\xfe\n")
    with pytest.raises(InputError, match="not valid YAML"):
        params.read(tmp_path / "params.yaml")


def test_a_value_that_grows_without_end_is_cut(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    with pytest.raises(InputError, match="contains unknown field `a`"):
        read("\n".join(lines) + "\n" + VALID, tmp_path)
    for value in ("x" * 500_000, "[" + "x, " * 5_000 + "]"):
        with pytest.raises(InputError) as raised:
            read(VALID.replace("seed: 0", f"seed: {value}"), tmp_path)
        assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("key", "columns"), [("null", []), ("id", ["id"]), ("[street, number]", ["street", "number"])]
)
def test_a_key_is_none_one_or_more_columns(key: str, columns: list[str], tmp_path: Path) -> None:
    assert read(VALID.replace("key: null", f"key: {key}"), tmp_path).load.keys == columns
