import pytest

from stages.columns.terms import parse_term
from stages.project.cli import InputError


@pytest.mark.parametrize(
    ("text", "written", "factors"),
    [
        ("a / b", "a / b", [("*", "a", None), ("/", "b", None)]),
        ("  a\t*  b ", "a * b", [("*", "a", None), ("*", "b", None)]),
        ("a * a", "a * a", [("*", "a", None), ("*", "a", None)]),
        (
            "two words / b * c / d",
            "two words / b * c / d",
            [("*", "two words", None), ("/", "b", None), ("*", "c", None), ("/", "d", None)],
        ),
        ("bmi * smoker  = yes", "bmi * smoker = yes", [("*", "bmi", None), ("*", "smoker", "yes")]),
        ("s = New York / b", "s = New York / b", [("*", "s", "New York"), ("/", "b", None)]),
        ('"a / b" * c', '"a / b" * c', [("*", "a / b", None), ("*", "c", None)]),
        ('"a  ""/ b" * c', '"a  ""/ b" * c', [("*", 'a  "/ b', None), ("*", "c", None)]),
        ('s = "x = y" * t', 's = "x = y" * t', [("*", "s", "x = y"), ("*", "t", None)]),
        ('b "é" / "q', 'b "é" / "q', [("*", 'b "é"', None), ("/", '"q', None)]),
        ("a/b * c=d", "a/b * c=d", [("*", "a/b", None), ("*", "c=d", None)]),
    ],
)  # fmt: skip
def test_a_term_has_names_levels_and_operators(
    text: str, written: str, factors: list[tuple[str, str, str | None]]
) -> None:
    assert parse_term(text) == (written, factors)
    assert parse_term(written) == (written, factors)


@pytest.mark.parametrize(
    "text", ["a", "a/b", "a + b", "a * b * c * d * e", "a = b", "a = b = c * d", " ", "* a", "a *"]
)
def test_another_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(InputError, match=r"^load\.derived: '.*' must be 2 to 4 columns, or levels"):
        parse_term(text)
