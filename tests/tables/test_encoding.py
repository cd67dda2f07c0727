"""What becomes of columns by what the training rows hold."""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pytest
from msgspec.structs import replace

from stages.columns.engine import DuckDB
from stages.columns.inputs import Input
from stages.project.cli import InputError
from stages.project.params import Load
from stages.tables import encoding
from stages.tables.encoding import Encoding
from stages.tables.relation import Relation, Rows

TYPES = {"number": "DOUBLE", "boolean": "BOOLEAN", "date": "TIMESTAMPTZ", "text": "VARCHAR"}


def encode(
    kinds: dict[str, str],
    columns: Mapping[str, Any],
    n_train: int | None = None,
    **set_: Any,
) -> Encoding:
    """Encode columns, the target y among them, of which the first rows are for training."""
    settings: dict[str, Any] = {"missing": "fail", "levels": 50, "features": None, "derived": []}
    settings |= {
        "key": None,
        "na": [],
        "dates": None,
        "categories": [],
        "order": None,
    }
    config = Load("toy", "y", test_size=0.2, seed=0, **settings | set_)
    n_rows = len(next(iter(columns.values())))
    columns = {"n": range(n_rows), "y": range(n_rows), **columns}
    with duckdb.connect() as connection:
        types = {"n": "INTEGER", "y": "DOUBLE"} | {name: TYPES[of] for name, of in kinds.items()}
        fields = ", ".join(f'"{name}" {sort}' for name, sort in types.items())
        connection.execute(f"CREATE TABLE t ({fields})")
        lists = ", ".join(f"unnest(?::{sort}[])" for sort in types.values())
        values = [[*columns[name]] for name in types]
        connection.execute(f"INSERT INTO t SELECT {lists}", values)
        on, whole = DuckDB("toy", connection), Rows("t")
        found = Relation(on, whole, "toy", "y", kinds, {}, n_rows)
        training = whole.only(f"t.n < {n_rows if n_train is None else n_train}")
        return encoding.encode(found, training, config)


# levels


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ("bbba", ("b", "a")),
        ("cabbc", ("b", "a", "c")),  # a tie: the first by the alphabet
        (["z", "é", "Z", "z"], ("z", "Z", "é")),  # in the order of Unicode
        (["a ", "a", "a"], ("a", "a ")),
    ],
)
def test_the_most_frequent_level_is_the_baseline_and_the_others_are_inputs(
    values: Sequence[str], levels: tuple[str, ...]
) -> None:
    found = encode({"x": "text"}, {"x": [*values]})
    assert found.schema.levels == {"x": levels}
    assert found.schema.inputs == tuple(Input("x", "text", level) for level in levels[1:])


@pytest.mark.parametrize(("most", "is_input"), [(3, True), (2, False)])
def test_a_text_with_more_levels_than_allowed_is_left_out(most: int, is_input: bool) -> None:
    columns = {"x": [*"abcde"], "z": range(5)}  # d and e are in test rows alone
    found = encode({"x": "text", "z": "number"}, columns, n_train=3, levels=most)
    assert ("x" in found.schema.kinds) == is_input
    assert ("3 levels" in found.left_out.get("x", "")) == (not is_input)


def test_levels_are_those_of_the_rows_that_are_kept() -> None:
    columns = {"x": [*"aaabbc"], "z": [None, None, 1.0, 2.0, 3.0, None]}
    found = encode({"x": "text", "z": "number"}, columns, missing="drop")
    assert found.schema.levels == {"x": ("b", "a")}


@pytest.mark.parametrize("missing", ["fail", "drop"])
def test_a_text_that_is_the_same_in_all_training_rows_is_left_out_and_its_gaps_do_not_count(
    missing: str,
) -> None:
    columns = {"x": ["a", None, "a", "b"], "z": range(4)}
    found = encode({"x": "text", "z": "number"}, columns, n_train=3, missing=missing)
    assert found.schema.features == ("z",)
    assert "the same" in found.left_out["x"]
    assert (found.gaps, found.gap_rows, found.dropped) == ({}, 0, 0)


# gaps

GAPS = {
    "x": [None, 1.0, None, 3.0, 4.0, 5.0],
    "b": [True, None, None, False, True, True],
    "s": [*"ab", None, *"aba"],
    "d": ["1969-12-31 00:00:00+00", "1970-01-03 12:00:00+00"] * 3,
}
KINDS = {"x": "number", "b": "boolean", "s": "text", "d": "date"}


def test_gaps_are_refused_with_their_rows_and_columns() -> None:
    with pytest.raises(InputError, match=r"^toy: 3 of 6 rows .* x in 2, b in 2, s in 1; "):
        encode(KINDS, GAPS)


def test_drop_leaves_out_rows_with_a_gap() -> None:
    found = encode(KINDS, GAPS, missing="drop")
    assert (found.gap_rows, found.dropped, found.gaps) == (3, 3, {"x": 2, "b": 2, "s": 1})
    inputs = Input("x"), Input("b", "boolean"), Input("s", "text", "b"), Input("d", "date")
    assert found.schema.inputs == inputs


def test_mean_fills_with_what_the_training_rows_have() -> None:
    found = encode(KINDS, GAPS, n_train=5, missing="mean")
    assert found.schema.inputs == (
        Input("x", fill=2.66667),
        Input("x", missing=True),
        Input("b", "boolean", fill=0.666667),
        Input("b", "boolean", missing=True),
        Input("s", "text", "b", fill=0.0),
        Input("s", "text", missing=True),
        Input("d", "date", fill=0.4),
    )


def test_a_gap_in_the_target_is_never_filled() -> None:
    columns = {"x": [1.0, 2.0, None, 6.0], "y": [None, 3.0, 4.0, 5.0]}
    with pytest.raises(InputError, match="2 of 4 rows have a gap, x in 1, y in 1"):
        encode({"x": "number"}, columns, missing="fail")
    assert encode({"x": "number"}, columns, missing="drop").dropped == 2
    found = encode({"x": "number"}, columns, missing="mean")
    assert found.dropped == 1
    assert found.schema.inputs == (Input("x", fill=4.0), Input("x", missing=True))


def test_no_training_rows_are_left_to_the_check_of_their_number() -> None:
    found = encode({"x": "number"}, {"x": [1.0, None]}, n_train=0, missing="mean")
    assert found.schema.inputs == (Input("x"),)


@pytest.mark.parametrize(("n_rows", "is_input"), [(199, True), (200, True), (201, False)])
def test_that_a_value_is_missing_is_an_input_from_one_percent_of_the_training_rows_on(
    n_rows: int, is_input: bool
) -> None:
    rows = range(n_rows + 50)  # more gaps in test rows change nothing
    x = [None if row < 2 or row >= n_rows else float(row) for row in rows]
    found = encode({"x": "number"}, {"x": x}, n_train=n_rows, missing="mean")
    assert (Input("x", missing=True) in found.schema.inputs) == is_input
    assert found.schema.inputs[0].fill is not None


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e-100, 1e99])
def test_a_mean_is_exact_in_six_digits_and_knows_no_order(scale: float) -> None:
    rng = np.random.default_rng(0)
    # terms that cancel: a sum of doubles in the order of the rows has no digit right
    large = rng.normal(size=10_000) * scale * 10
    values = [*large.tolist(), *(-large).tolist(), *(rng.uniform(1, 2, 999) * scale).tolist()]
    exact = sum(map(Fraction, values)) / len(values)
    ratio = map(Decimal, exact.as_integer_ratio())
    expected = Input("x", fill=float(Context(prec=6).divide(*ratio)))
    for order in (values, rng.permutation(values).tolist()):
        found = encode({"x": "number"}, {"x": order}, missing="mean")
        assert found.schema.inputs == (expected,)


@pytest.mark.parametrize(
    ("values", "fill"),
    [
        ([0.0, 2.0, 0.1234567], 0.707819),
        ([12345678.0, 12345678.0], 12345678.0),  # what does not vary still does not
        ([1234567800.0, 1234567900.0], 1234567850.0),
        ([-1234567894.0] * 9 + [-1234557894.0], -1234566894.0),
    ],
)
def test_a_mean_has_more_digits_where_six_would_leave_the_range(
    values: list[float], fill: float
) -> None:
    found = encode({"x": "number"}, {"x": [*values, None]}, missing="mean")
    assert found.schema.inputs[0] == Input("x", fill=fill)


# products and ratios

RATIO = Input("x / z", "product", factors=(Input("x"), Input("z")), operators="*/")
TWO = {"x": [6.0, 3.0, 1.0, 5.0, None, 0.0], "z": [2.0, 4.0, 0.0, None, 1.0, 1.0]}
NUMBERS = {"x": "number", "z": "number"}


def test_a_divisor_of_zero_and_gaps_of_factors_are_gaps_of_the_ratio() -> None:
    message = "^toy: 3 of 6 rows have a gap, x in 1, z in 1, x / z in 3; load.missing: drop"
    with pytest.raises(InputError, match=message):
        encode(NUMBERS, TWO, derived=["x  / z"])
    found = encode(NUMBERS, TWO, derived=["x / z"], missing="drop")
    assert found.schema.inputs == (Input("x"), Input("z"), RATIO)
    assert (found.dropped, found.gap_rows) == (3, 3)


def test_mean_fills_a_ratio_with_that_of_the_rows_that_have_one() -> None:
    found = encode(NUMBERS, TWO, 5, derived=["x / z"], missing="mean", features=["z"])
    assert found.schema.features == ("z", "z is missing", "x / z")
    assert found.schema.inputs[2] == replace(RATIO, fill=(6 / 2 + 3 / 4) / 2)
    assert found.schema.kinds == {"z": "number", "x": "number"}


def test_sizes_that_could_overflow_are_gaps() -> None:
    columns = {"x": [1e25, 1.1e25, -1e26, 1e-24, 1e-25, 9e-26, 0.0], "z": [1.0] * 7}
    found = encode(NUMBERS, columns, derived=["x / z", "x * z"], missing="drop")
    assert found.gaps == {"x / z": 3, "x * z": 3}


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("x * s", r"x \* s: s: write one of its levels: no, yes$"),
        ("x * s = maybe", r"x \* s = maybe: s: write one of its levels: no, yes$"),
        ("x = 1 * z", r"x = 1 \* z: x: it has no levels$"),
        ("x * one = a", r"x \* one = a: one: the same text in all training rows$"),
        ("x * many = a", r"x \* many = a: many: text of 4 levels, load.levels is 3$"),
        ("x + z", "'x \\+ z' must be 2 to 4 columns"),
    ],
)
def test_terms_that_cannot_be_made_are_told_in_one_line(term: str, message: str) -> None:
    columns = {"x": [1, 2, 3, 4], "z": [1, 2, 1, 3], "s": ["no", "no", "no", "yes"]}
    columns |= {"one": [*"aaaa"], "many": [*"abcd"]}
    kinds = NUMBERS | dict.fromkeys(("s", "one", "many"), "text")
    with pytest.raises(InputError, match=f"load.derived: {message}"):
        encode(kinds, columns, derived=[term], levels=3)


def test_a_level_may_be_the_baseline_and_of_a_column_for_it_alone() -> None:
    columns = {"x": [1, 2, 3, 4], "s": ["no", "no", "no", "yes"]}
    kinds = {"x": "number", "s": "text"}
    found = encode(kinds, columns, derived=["x * s = no"], features=["x"]).schema
    assert found.features == ("x", "x * s = no")
    assert (found.kinds, found.levels) == (kinds, {"s": ("no", "yes")})
    assert found.of([0]).levels == {}


# what is no input


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("number", [None, None, 1.0], "no values in training rows"),
        ("text", ["a", "a", "b"], "the same text in all training rows"),
        ("text", ["a\tb", "c", "c"], r"its level 'a\tb' does not print"),
    ],
)
def test_a_column_that_cannot_be_an_input_is_left_out_with_its_reason(
    kind: str, values: list[Any], reason: str
) -> None:
    kinds = {"x": kind, "z": "number"}
    columns = {"x": values, "z": [1.0, 2.0, 3.0]}
    found = encode(kinds, columns, n_train=2, missing="mean")
    assert found.left_out == {"x": reason}
    assert found.schema.features == ("z",)
    with pytest.raises(InputError, match=r"load\.features: x: "):
        encode(kinds, columns, n_train=2, missing="mean", features=["x", "z"])


@pytest.mark.parametrize(
    ("kinds", "columns", "name"),
    [
        ({"x": "text", "x = b": "number"}, {"x": "aab", "x = b": [1, 2, 3]}, "x = b"),
        (
            {"x": "number", "x is missing": "number"},
            {"x": [None, 1, 2], "x is missing": [1, 2, 3]},
            "x is missing",
        ),
        (
            {"x": "text", "x = b": "text"},
            {"x": ["a", "a", "b = c"], "x = b": [*"aac"]},
            "x = b = c",
        ),
    ],
)
def test_inputs_whose_names_clash_are_refused(
    kinds: dict[str, str], columns: dict[str, Any], name: str
) -> None:
    with pytest.raises(InputError, match=f"^toy: two inputs would be called {name}: "):
        encode(kinds, columns, missing="mean")


@pytest.mark.parametrize("name", ["error", "prediction"])
def test_a_column_called_like_one_of_the_output_is_no_feature(name: str) -> None:
    found = encode({name: "number", "z": "number"}, {name: [1.0, 2.0], "z": [1.0, 2.0]})
    assert found.schema.features == ("z",)
    assert "the output has a column of this name" in found.left_out[name]


def test_levels_that_differ_in_case_or_spaces_are_told_with_both() -> None:
    levels = {
        "city": ("Rome", "rome ", "Oslo", "ROME", "oslo"),
        "size": ("s", "S\N{NO-BREAK SPACE}"),
        "none": ("a", "b", "a b"),
    }
    pairs = "city: 'Rome' and 'rome '; size: 's' and 'S\\xa0'"
    assert encoding.list_twins(levels) == pairs


@pytest.mark.parametrize(
    ("n_train", "n_test", "key", "message"),
    [
        (3, 2, None, "3 rows for training and 2 for the test; at least 4 and 2 are needed for 3"),
        (3, 2, None, " for 3 features, city 2$"),
        (4, 1, "id", "another load.seed changes"),
    ],
)
def test_rows_must_be_more_than_features_and_the_columns_of_most_are_named(
    n_train: int, n_test: int, key: str | None, message: str
) -> None:
    inputs = [Input("x"), Input("city", "text", "a"), Input("city", "text", "b")]
    config = Load("toy", "y", None, [], key, "fail", [], None, [], 50, None, 0.2, 0)
    parts = [(n_train, 0.0, 1.0), (n_test, 0.0, 1.0)]
    found = Relation(DuckDB("toy", None), Rows("t"), "toy", "y", {}, {}, 5)
    with pytest.raises(InputError, match=message):
        encoding.check(parts, inputs, found, config)
