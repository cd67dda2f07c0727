import re
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from stages import predict
from stages.columns.inputs import Input
from stages.predictor import c, document
from stages.predictor.document import Intercept, Predictor
from stages.project.cli import InputError
from stages.regression.linear import LinearModel
from tests.conftest import CAR, EXAMPLE, feature, modelled

COMMITTED = document.load(Path("models/predictor.json"))
MAIN = """
#include <stdio.h>
#include <string.h>
#include "model.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "fixed") == 0) {
        int32_t x[model_features];
        while (fread(x, sizeof x, 1, stdin) == 1) {
            int32_t y = predict_fixed(x);
            fwrite(&y, sizeof y, 1, stdout);
        }
    } else {
        double x[model_features];
        while (fread(x, sizeof x, 1, stdin) == 1) {
            double y = predict(x);
            fwrite(&y, sizeof y, 1, stdout);
        }
    }
    return 0;
}
"""
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
CHECKED = ("-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
FLAGS = [
    ("-O0",),
    ("-O2", "-march=native"),
    ("-O3", "-m32", "-msse2", "-mfpmath=sse"),
    CHECKED,
]
SIZES = {
    "avr-gcc": ("-mmcu=atmega328p",),
    "arm-none-eabi-gcc": ("-mcpu=cortex-m0", "-mthumb"),
}

Compiled = Callable[[Predictor, tuple[str, ...]], Path]


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")

    def compile_(model: Predictor, flags: tuple[str, ...]) -> Path:
        (tmp_path / "main.c").write_text(MAIN)
        (tmp_path / "model.h").write_text(c.header(model), encoding="utf-8")
        (tmp_path / "empty.c").write_text("#include <stdio.h>\nint main(void) { return 0; }\n")
        if "-m32" in flags:
            probe = ("gcc", *flags, "-o", "empty", "empty.c")
            if subprocess.run(probe, cwd=tmp_path, capture_output=True).returncode:
                pytest.skip("this gcc has no -m32")
        command = ("gcc", *STRICT, *flags, "-o", "main", "main.c")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return tmp_path / "main"

    return compile_


def in_double(program: Path, X: np.ndarray) -> np.ndarray:
    done = subprocess.run([program], input=X.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, dtype=np.float64)


def in_integers(program: Path, X: list[list[int]]) -> list[int]:
    data = np.array(X, dtype=np.int32).tobytes()
    done = subprocess.run([program, "fixed"], input=data, capture_output=True, check=True)
    return list(np.frombuffer(done.stdout, dtype=np.int32).tolist())


def limits(model: Predictor) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array([(feature.min, feature.max) for feature in model.features])
    return pairs[:, 0], pairs[:, 1]


def rows_within(model: Predictor, rng: np.random.Generator, n_rows: int) -> np.ndarray:
    """Return rows from the training range, and corners of it."""
    low, high = limits(model)
    inside = low + (high - low) * rng.random((n_rows, len(low)))
    corners = rng.choice([False, True], size=(200, len(low)))
    if len(low) <= 8:
        corners = np.array(list(product([False, True], repeat=len(low))))
    rows: np.ndarray = np.clip(np.vstack([inside, np.where(corners, low, high)]), low, high)
    return rows


def check(model: Predictor, program: Path, n_rows: int) -> None:
    rng = np.random.default_rng(n_rows)
    n = len(model.features)
    X = rows_within(model, rng, n_rows)
    wild = rng.normal(size=(200, n)) * 2.0 ** rng.integers(-60, 60, size=(200, n))
    wild[:50] = rng.choice([0.0, -0.0, 5e-324, 1e-310], size=(50, n))
    linear = LinearModel(np.array(model.coef), model.intercept.value)
    for table in (X, wild):
        found, expected = in_double(program, table), linear.predict(table)
        assert found.view(np.int64).tolist() == expected.view(np.int64).tolist()

    fixed = c.fixed_point(model)
    scales = [Fraction(2) ** q for q in fixed.fraction_bits]
    rows = [[Fraction(x) for x in row] for row in X.tolist()]
    inputs = [[round(x * s) for x, s in zip(row, scales, strict=True)] for row in rows]
    assert max(abs(x) for row in inputs for x in row) <= 2**30
    results = in_integers(program, inputs)
    assert results == [in_python(fixed, row) for row in inputs]
    assert max(map(abs, results)) <= 2**30

    text = re.search(r"off by (\S+) at most", c.header(model))
    assert text
    weights = [
        Fraction(multiplier) / Fraction(2) ** feature.exponent
        for multiplier, feature in zip(model.multipliers, model.features, strict=True)
    ]
    intercept = Fraction(model.intercept.number) / Fraction(2) ** model.intercept.exponent
    for row, result in zip(rows, results, strict=True):
        exact = intercept + sum(w * x for w, x in zip(weights, row, strict=True))
        error = abs(result / Fraction(2) ** fixed.result_bits - exact)
        assert error <= fixed.bound <= Fraction(text[1])

    ends = (-(2**31), 2**31 - 1)
    signs = [[ends[factor > 0] for factor in fixed.factors]]
    signs += [[ends[factor < 0] for factor in fixed.factors]]
    signs += rng.integers(*ends, size=(500, n), endpoint=True).tolist()
    assert in_integers(program, signs) == [in_python(fixed, row) for row in signs]


def in_python(fixed: c.FixedPoint, row: list[int]) -> int:
    total = fixed.intercept + sum(f * x for f, x in zip(fixed.factors, row, strict=True))
    assert abs(total) < 2**62
    unit = 2 ** (fixed.sum_bits - fixed.result_bits)
    rounded: int = (2 * total + unit) // (2 * unit)  # ties up
    return min(max(rounded, -(2**31)), 2**31 - 1)


@pytest.mark.parametrize("flags", FLAGS)
def test_the_committed_model(compiled: Compiled, flags: tuple[str, ...]) -> None:
    check(COMMITTED, compiled(COMMITTED, flags), n_rows=4000)


@pytest.mark.parametrize(
    ("bits", "n", "spread"), [(1, 1, 3), (3, 5, 40), (8, 30, 10), (16, 3, 300), (16, 8, 0)]
)
def test_models_of_any_kind(compiled: Compiled, bits: int, n: int, spread: int) -> None:
    model = modelled(np.random.default_rng(bits + n), bits, n, max(spread, 1))
    check(model, compiled(model, CHECKED), n_rows=500)


@pytest.mark.slow
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("bits", range(1, 17))
def test_every_width(compiled: Compiled, bits: int, flags: tuple[str, ...]) -> None:
    rng = np.random.default_rng(bits)
    for spread in (1, 12, 60, 300):
        model = modelled(rng, bits, int(rng.integers(1, 12)), spread)
        check(model, compiled(model, flags), n_rows=1000)


@pytest.mark.parametrize(
    ("low", "high", "number", "exponent"),
    [
        (0.0, 0.0, 0, 0),
        (5.0, 5.0, -5, 0),  # the only prediction is 0
        (-1e100, 1e100, 3, -1000),
        (1e-100, 1e-99, 10**300, 1000),
        (-1.0, 1.0, 2**64 + 1, 3),
        (-1.0, 1.0, 1, 1000),
    ],
)
@pytest.mark.parametrize("weight_exponent", [0, 900, -600])
def test_degenerate_models(
    compiled: Compiled, low: float, high: float, number: int, exponent: int, weight_exponent: int
) -> None:
    features = (
        feature(Input("x"), low, high, 1, weight_exponent),
        feature(Input("z"), 0.0, 1.0, 0, 2),
    )
    intercept = Intercept(number, exponent)
    model = replace(EXAMPLE, bits=1, intercept=intercept, features=features)
    check(model, compiled(model, ("-O1",)), n_rows=50)


def test_a_hand_worked_model() -> None:
    # y = 3/2 - 3/4 a + 1/4 b; a fits 2^30 with 29 fraction bits, b with 26
    features = (feature(Input("a"), 0.0, 2.0, 0, 2), feature(Input("b"), -16.0, 3.0, 2, 2))
    model = replace(EXAMPLE, intercept=Intercept(3, 1), features=features)
    fixed = c.fixed_point(model)
    assert fixed.fraction_bits == (29, 26)
    assert fixed.sum_bits == 31  # of a, and 3 more than b has
    assert fixed.factors == (-3, 8)
    assert fixed.intercept == 3 * 2**30
    assert fixed.result_bits == 27  # predictions are from -4 to 9/4, and error makes it more than 4
    assert fixed.bound == Fraction(3, 4 * 2**30) + Fraction(1, 4 * 2**27) + Fraction(1, 2**28)


def test_the_bound_is_nearly_reached() -> None:
    model = modelled(np.random.default_rng(0), 8, 8)
    fixed = c.fixed_point(model)
    error = Fraction(0)
    for weight, each, q in zip(model.coef, model.features, fixed.fraction_bits, strict=True):
        unit = Fraction(1, 2**q)
        x = (Fraction(each.min) // unit + Fraction(3, 2) - Fraction(1, 1000)) * unit
        error += abs(Fraction(weight)) * abs(x - round(x / unit) * unit)
    assert error + Fraction(1, 2 ** (fixed.result_bits + 1)) > fixed.bound * Fraction(99, 100)


def test_names_do_not_leave_their_comment(compiled: Compiled) -> None:
    names = ("*/ int a", "/* b", "c ??/", "d \\", "\"e'", "é %d {x}", "g *", "*/*/??\\/**//")
    rng = np.random.default_rng(0)
    model = modelled(rng, 8, len(names), names=names)
    model = replace(model, dataset="*/ #error", target="y*\\", unit="€/m ??/")
    check(model, compiled(model, ("-O1", "-Wcomment")), n_rows=10)
    check(model, compiled(model, ("-O1", "-Wtrigraphs")), n_rows=10)
    for name in ("a\nb", "a\u2028b", "a\u202eb"):
        with pytest.raises(ValueError, match="does not print"):
            replace(model, features=(replace(model.features[0], column=name),))


def test_the_header_says_how_each_feature_is_made() -> None:
    lines = c.header(CAR).splitlines()
    assert " * gaps: the mean of the training rows takes their place, or the baseline" in lines
    found = [line for line in lines if line.startswith(" * x[")]
    assert [line.rpartition(" (")[0] for line in found] == [
        " * x[0]: 1 where fuel is diesel, 0 elsewhere",
        " * x[1]: 1 where fuel is missing, 0 elsewhere",
        " * x[2]: new, 1 where true and 0 where false; 0.25 where missing",
        " * x[3]: seen, days since 1970 in UTC; 20.0 where missing",
        " * x[4]: km; 1.5 where missing",
    ]


def test_too_many_features_are_refused() -> None:
    each = [feature(Input(f"f{j}"), 0.0, 1.0, 2**16 - 1, 0) for j in range(2**14 + 1)]
    model = replace(EXAMPLE, bits=16, features=tuple(each[:-1]))
    assert c.fixed_point(replace(model, features=model.features[:-1])).factors[0] == 65535
    with pytest.raises(InputError, match="too many"):
        c.header(replace(model, features=tuple(each)))


def test_predict_prints_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["predict", "--c"])
    predict.main()
    assert capsys.readouterr().out == c.header(COMMITTED) + "\n"
    monkeypatch.setattr("sys.argv", ["predict", "--c", "table.csv"])
    with pytest.raises(SystemExit) as stopped:
        predict.main()
    assert stopped.value.code == 2


@pytest.mark.slow
@pytest.mark.parametrize("compiler", SIZES)
def test_it_compiles_for_microcontrollers(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    (tmp_path / "model.h").write_text(c.header(COMMITTED), encoding="utf-8")
    (tmp_path / "call.c").write_text(
        '#include "model.h"\n\nint32_t call(const int32_t x[]);\n'
        "int32_t call(const int32_t x[]) { return predict_fixed(x); }\n"
    )
    command = (compiler, *STRICT, "-Os", *SIZES[compiler], "-c", "call.c")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
