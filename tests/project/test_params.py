from pathlib import Path

import pytest

from stages.project import params
from stages.project.cli import InputError

VALID = """\
load: {dataset: diabetes, target: null, features: null, derived: [a / b],
  key: null, missing: fail, na: [-999], dates: null, categories: [],
  levels: 50, order: null, test_size: 0.25, seed: 0}
train: {folds: 5, tolerance: 1.0e-9}
quantize: {bits: 1, rounding: nearest}
evaluate: {samples: 5}
gate: {min_r2: -1, min_cv_r2: null, max_r2_drop: 0}
report: {unit: null}
"""


def read(text: str, folder: Path) -> params.Params:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return params.read(path)


def test_values_are_typed(tmp_path: Path) -> None:
    assert read(VALID, tmp_path) == params.Params(
        params.Load(
            "diabetes",
            None,
            None,
            ["a / b"],
            None,
            "fail",
            [-999],
            None,
            [],
            50,
            None,
            0.25,
            0,
        ),
        params.Train(5, 1e-9),
        params.Quantize(1, "nearest"),
        params.Evaluate(5),
        params.Gate(-1, None, 0),
        params.Report(None),
    )


def test_the_project_s_own_file_is_valid() -> None:
    params.read()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("unit: null", 'unit: "\\x01"', r"report: '\x01' does not print"),
        ("unit: null", "unit: {a: ' '}", "report: ' ' does not print"),
        ("bits: 1", "bits: 0", "quantize.bits: Expected `int` >= 1, got 0"),
        ("bits: 1", "bits: 17", "quantize.bits: Expected `int` <= 16, got 17"),
        ("bits: 1", "bits: 8.5", "quantize.bits: Expected `int`, got 8.5"),
        ("bits: 1", "bits: true", "quantize.bits: Expected `int`, got True"),
        ("bits: 1", "bits: '8'", "quantize.bits: Expected `int`, got '8'"),
        (
            "nearest",
            "best",
            "quantize.rounding: must be one of gptq, nearest, optimal, got 'best'",
        ),
        ("folds: 5", "folds: 1", "train.folds: Expected `int` >= 2, got 1"),
        ("0.25", "1", "load.test_size: Expected `float` < 1.0, got 1"),
        ("0.25", ".nan", "load.test_size: Expected `float` >= 0.0, got nan"),
        (
            "fail",
            "median",
            "load.missing: must be one of drop, fail, mean, got 'median'",
        ),
        ("levels: 50", "levels: 0", "load.levels: Expected `int` >= 1, got 0"),
        ("seed: 0", "seed: -1", "load.seed: Expected `int` >= 0, got -1"),
        ("diabetes", "7", "load.dataset: Expected `str`, got 7"),
        ("target: null", "target: ''", "load.target: Expected `str` of length >= 1, got ''"),
        (
            "features: null",
            "features: []",
            "load.features: Expected `array` of length >= 1, got []",
        ),
        ("features: null", "features: a", "load.features: Expected `array | null`, got 'a'"),
        ("features: null", "features: [a, 5]", "load.features[1]: Expected `str`, got 5"),
        ("key: null", "key: 5", "load.key: Expected `str | array | null`, got 5"),
        ("samples: 5", "samples: 4", "evaluate.samples: Expected `int` >= 5, got 4"),
        ("min_r2: -1", "min_r2: 1.1", "gate.min_r2: Expected `float` <= 1.0, got 1.1"),
        ("min_r2: -1", "min_r2: -.inf", "gate.min_r2: Expected `float` >= -1.79"),
        ("min_r2: -1", "min_r2: high", "gate.min_r2: Expected `float | object | null`, got 'high'"),
        ("min_r2: -1", "min_r2: {diabetes: 2}", "gate.min_r2[...]: Expected `float` <= 1.0"),
        ("drop: 0", "drop: null", "gate.max_r2_drop: Expected `float`, got None"),
        ("drop: 0", "drop: -0.1", "gate.max_r2_drop: Expected `float` >= 0.0, got -0.1"),
        ("bits: 1", "bit: 1", "quantize: Object contains unknown field `bit`"),
        ("load:", '"x - at `$.y": 1\nload:', "Object contains unknown field `x"),
        ("bits: 1, ", "", "quantize: Object missing required field `bits`"),
        (VALID, "", "params.yaml: Expected `object`, got None"),
        ("{bits: 1, rounding: nearest}", "8", "quantize: Expected `object`, got 8"),
        ("{bits", "{bits: [", "not valid YAML"),
        ("{bits: 1, ", "{bits: 1, bits: 2, ", "not valid YAML"),
        ("seed: 0", "seed: 2020-13-45", "not valid YAML"),
        ("bits: 1", "bits: " + "x" * 10**5, "quantize.bits: Expected `int`, got 'xxx"),
        ("diabetes", "!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(before: str, after: str, message: str, tmp_path: Path) -> None:
    assert before in VALID
    with pytest.raises(InputError) as raised:
        read(VALID.replace(before, after, 1), tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "params.yaml"))
    assert message in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("1E-05", 1e-5), ("1.5e+0", 1.5), ("010", 10), ("0o10", 8)]
)
def test_numbers_are_those_that_dvc_reads(text: str, value: float, tmp_path: Path) -> None:
    found = read(VALID.replace("drop: 0", f"drop: {text}"), tmp_path)
    assert found.gate.max_r2_drop == value


@pytest.mark.parametrize(
    ("key", "columns"), [("null", []), ("id", ["id"]), ("[street, number]", ["street", "number"])]
)
def test_a_key_is_none_one_or_more_columns(key: str, columns: list[str], tmp_path: Path) -> None:
    assert read(VALID.replace("key: null", f"key: {key}"), tmp_path).load.keys == columns
