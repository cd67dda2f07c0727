"""The header, and its integers against rationals. `test_same_bits` has the doubles."""

import re
import shutil
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stages.columns.inputs import Input
from stages.predictor import c, document
from stages.predictor.document import Intercept, Predictor
from stages.project.files import PREDICTOR
from tests.conftest import CAR, EXAMPLE, feature, make_model, run, run_c

COMMITTED = document.load(PREDICTOR)
CHECKED = ("-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
INT32 = (-(2**31), 2**31 - 1)


def rows_within(model: Predictor, rng: np.random.Generator) -> np.ndarray:
    """Return rows from the training range, and corners of it."""
    low, high = np.array([(each.min, each.max) for each in model.features]).T
    inside = low + (high - low) * rng.random((500, len(low)))
    corners = rng.choice([False, True], size=(200, len(low)))
    if len(low) <= 8:
        corners = np.array(list(product([False, True], repeat=len(low))))
    return np.asarray(np.clip(np.vstack([inside, np.where(corners, low, high)]), low, high))


def check_integers(model: Predictor, folder: Path, *flags: str) -> None:
    fixed, rng = c.fixed_point(model), np.random.default_rng(0)
    scales = [Fraction(2) ** q for q in fixed.fraction_bits]
    rows = [[Fraction(x) for x in row] for row in rows_within(model, rng).tolist()]
    inputs = [[round(x * s) for x, s in zip(row, scales, strict=True)] for row in rows]
    assert max(abs(x) for row in inputs for x in row) <= 2**30
    ends = [[INT32[factor > 0] for factor in fixed.factors]]
    ends += [[INT32[factor < 0] for factor in fixed.factors]]
    ends += rng.integers(*INT32, (500, len(fixed.factors)), endpoint=True).tolist()
    table = np.array(inputs + ends, np.int32)
    found = run_c(model, table, folder, *flags).tolist()
    assert found == [predict_fixed(fixed, row) for row in inputs + ends]

    results = found[: len(rows)]
    assert max(map(abs, results)) <= 2**30
    said = re.search(r"off by (\S+) at most", c.header(model))
    assert said
    weights = list(map(Fraction, model.coef))
    intercept = Fraction(model.intercept.number) / Fraction(2) ** model.intercept.exponent
    for row, result in zip(rows, results, strict=True):
        exact = intercept + sum(w * x for w, x in zip(weights, row, strict=True))
        error = abs(result / Fraction(2) ** fixed.result_bits - exact)
        assert error <= fixed.bound <= Fraction(said[1])


def predict_fixed(fixed: c.FixedPoint, row: list[int]) -> int:
    total = fixed.intercept + sum(f * x for f, x in zip(fixed.factors, row, strict=True))
    assert abs(total) < 2**62
    unit = 2 ** (fixed.sum_bits - fixed.result_bits)
    rounded: int = (2 * total + unit) // (2 * unit)  # ties up
    return min(max(rounded, INT32[0]), INT32[1])


@pytest.mark.parametrize("flags", [("-O2", "-march=native"), CHECKED])
def test_the_committed_model(flags: tuple[str, ...], tmp_path: Path) -> None:
    check_integers(COMMITTED, tmp_path, *flags)


@pytest.mark.parametrize(
    "bits",
    [1, 8, 16, *(pytest.param(n, marks=pytest.mark.slow) for n in (*range(2, 8), *range(9, 16)))],
)
def test_models_of_every_width(bits: int, tmp_path: Path) -> None:
    inputs = map(Input, map("f{}".format, range(1 + 7 * bits % 13)))
    model = make_model(bits, inputs, spread=(1, 12, 60, 300)[bits % 4])
    check_integers(model, tmp_path, *CHECKED)


@pytest.mark.parametrize(
    ("low", "high", "weight", "number", "exponent"),
    [
        (0.0, 0.0, 0, 0, 0),
        (5.0, 5.0, 0, -5, 0),  # the only prediction is 0
        (-1e100, 1e100, -600, 3, -1000),
        (1e-100, 1e-99, 900, 10**300, 1000),
        (-1.0, 1.0, 0, 2**64 + 1, 3),
        (-1.0, 1.0, 900, 1, 1000),
    ],
)
def test_degenerate_models(
    low: float, high: float, weight: int, number: int, exponent: int, tmp_path: Path
) -> None:
    features = feature(Input("x"), low, high, 1, weight), feature(Input("z"), 0.0, 1.0, 0, 2)
    model = replace(EXAMPLE, bits=1, intercept=Intercept(number, exponent), features=features)
    check_integers(model, tmp_path)


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
    factors = Input("km"), Input("fuel", "text", "diesel")
    term = Input("km / fuel = diesel", "product", factors=factors, operators="*/", fill=2.5)
    text = c.header(replace(CAR, features=(*CAR.features, feature(term, 1.0, 2.0, 1, 0))))
    assert f"x[5]: {term.name}, by price_x5(km; 1 where fuel is diesel, 0 elsewhere) (1" in text
    assert "double price_x5(double a, double b)" in text
    assert ") ? 1.0 * a / b : 2.5;" in text
    assert not {"math.h", "price_x"} & {*re.findall(r"math\.h|price_x", c.header(CAR))}


RATIO = Input("u / v", "product", factors=(Input("u"), Input("v")), operators="*/")
LIGHT = replace(EXAMPLE, target="light", features=(feature(RATIO, 0.0, 8.0, 2, 1),))
HEAT = replace(LIGHT, target="heat", intercept=Intercept(0, 0))
TWO = """#include "light.h"
#include "heat.h"
#include "light.h"
int main(void)
{
    double x[] = {light_x0(6, 2)}, z[] = {heat_x0(6, 2)};
    return light_predict(x) == 4.75 && heat_predict(z) == 1.5 && light_features == 1 ? 0 : 1;
}
"""


def compile_c(folder: Path, text: str, *flags: str) -> str:
    """Compile a program beside its headers, and return what the compiler says."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    (folder / "main.c").write_text(text)
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wundef", "-Werror", "-pedantic")
    done = run("gcc", *strict, *flags, "main.c", "-o", "main", cwd=folder)
    assert (done.returncode == 0) is (done.stderr == "")
    return done.stderr


def test_two_models_are_in_one_program(tmp_path: Path) -> None:
    for model in (LIGHT, HEAT):
        (tmp_path / f"{model.target}.h").write_text(c.header(model))
    assert not compile_c(tmp_path, TWO)
    assert run("./main", cwd=tmp_path).returncode == 0


def test_two_models_of_one_name_are_an_error(tmp_path: Path) -> None:
    for model in (LIGHT, HEAT):
        (tmp_path / f"{model.target}.h").write_text(c.header(model, "light"))
    assert re.search("redefinition of .light_predict", compile_c(tmp_path, TWO))


@pytest.mark.parametrize(
    "flag", ["-ffast-math", "-ffinite-math-only", "-funsafe-math-optimizations"]
)
def test_flags_that_lose_gaps_or_the_order_of_sums_are_an_error(flag: str, tmp_path: Path) -> None:
    (tmp_path / "light.h").write_text(c.header(LIGHT))
    text = '#include "light.h"\nint main(void) { return light_features - 1; }\n'
    assert '#error "-ffast-math' in compile_c(tmp_path, text, flag)
    narrow = "-U__SIZEOF_DOUBLE__", "-D__SIZEOF_DOUBLE__=4"  # as AVR, which has the integers alone
    assert not compile_c(tmp_path, text, flag, *narrow)


@pytest.mark.parametrize(
    ("name", "target", "start"),
    [
        ("", "UnitPrice", "unitprice"),
        ("Light", "UnitPrice", "light"),
        ("", "price, in €", "price_in"),
        ("", "_t_", "t"),
        ("", "2nd", "model2nd"),
        ("", "日本", "model"),
        ("--", "y", "model"),
        ("", "int", "int"),  # no keyword, as more follows
    ],
)
def test_names_begin_with_that_of_the_model_or_the_target(
    name: str, target: str, start: str
) -> None:
    text = c.header(replace(EXAMPLE, target=target), name)
    for wanted in ("double {}_predict(", "int32_t {}_predict_fixed(", "enum {{ {}_features = 2,"):
        assert wanted.format(start) in text


@given(st.text())
def test_whatever_name_is_given_names_are_those_of_c(name: str) -> None:
    text = c.header(EXAMPLE, name)
    assert re.search(r"double [a-z][a-z0-9_]*_predict\(const double x\[\]\)", text)
    [guard] = re.findall(r"#ifndef (.*)", text)
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", guard)
