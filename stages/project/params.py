"""`params.yaml` as one validated object: every value has its type and lies in its range."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from math import inf
from pathlib import Path
from textwrap import shorten
from typing import Any

# what DVC reads it with: to YAML 1.1, as PyYAML has it, 1e-3 is a text and 010 is eight
from ruamel.yaml import YAML

from stages.project.cli import InputError
from stages.project.text import SHOWN, shown


def _rule(text: str, holds: Callable[[Any], bool]) -> Any:
    """Declare a required field whose value must satisfy `holds`, said to people as `text`."""
    return field(metadata={"text": text, "holds": holds})


def _integer(low: int, high: int) -> Any:
    # type() and not isinstance(): `bits: true` is a bool, which must not pass for 1
    return _rule(f"an integer from {low} to {high}", lambda x: type(x) is int and low <= x <= high)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < inf


def _number(text: str, holds: Callable[[float], bool]) -> Any:
    return _rule(text, lambda x: _is_number(x) and holds(x))


def _number_or_null(text: str, holds: Callable[[float], bool]) -> Any:
    return _rule(f"{text}, or null", lambda x: x is None or (_is_number(x) and holds(x)))


def _one_of(*choices: str) -> Any:
    return _rule(f"one of {', '.join(choices)}", lambda x: x in choices)


def _is_text(value: Any) -> bool:
    return type(value) is str and value != "" and value.isprintable()


def _text_or_null(text: str) -> Any:
    return _rule(f"{text}, or null", lambda x: x is None or _is_text(x))


def _are_columns(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value)) and 0 < len(value) == len({*value})


def _columns_or_null() -> Any:
    return _rule("a list of different columns, or null", lambda x: x is None or _are_columns(x))


def _key_or_null() -> Any:
    return _rule(
        "a column, a list of different columns, or null",
        lambda x: x is None or _is_text(x) or _are_columns(x),
    )


@dataclass(frozen=True)
class Load:
    dataset: str = _rule("the name of a data set, or a file", _is_text)
    target: str | None = _text_or_null("the name of a column")
    features: Sequence[str] | None = _columns_or_null()
    unit: str | None = _text_or_null("a text")
    key: str | Sequence[str] | None = _key_or_null()
    missing: str = _one_of("fail", "drop", "mean")
    levels: int = _integer(1, 1000)
    test_size: float = _number("a number between 0 and 1, both excluded", lambda x: 0 < x < 1)
    seed: int = _integer(0, 2**32 - 1)

    @property
    def keys(self) -> Sequence[str]:
        """The columns that together name a row; none where `key` is null."""
        return [self.key] if isinstance(self.key, str) else self.key or []


@dataclass(frozen=True)
class Quantize:
    bits: int = _integer(1, 16)
    rounding: str = _one_of("optimal", "gptq", "nearest")


@dataclass(frozen=True)
class Evaluate:
    samples: int = _integer(5, 1000)


@dataclass(frozen=True)
class Gate:
    min_r2: float | None = _number_or_null("a number of at most 1", lambda x: x <= 1)
    max_r2_drop: float = _number("a number of at least 0", lambda x: x >= 0)


@dataclass(frozen=True)
class Params:
    """All parameters, one section for each command that has any."""

    load: Load
    quantize: Quantize
    evaluate: Evaluate
    gate: Gate


def read(path: Path = Path("params.yaml")) -> Params:
    """Read and validate a parameter file.

    Raises
    ------
    InputError
        Broken YAML, or a key that is missing, unknown or has a value that its rule forbids.
    """
    text = path.read_bytes()
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # the parser has an error of its own for each kind of nonsense
        reason = shorten(str(error), 4 * SHOWN, placeholder="…")
        raise InputError(f"{path}: not valid YAML: {reason}") from error
    sections = _known_keys(document, fields(Params), f"{path}: ")
    values = {}
    for section in fields(Params):
        keys = fields(section.type)  # type: ignore[arg-type]
        values[section.name] = section.type(  # type: ignore[operator]
            **_checked(sections[section.name], keys, f"{path}: {section.name}.")
        )
    return Params(**values)


def _known_keys(mapping: Any, expected: tuple[Field[Any], ...], where: str) -> Mapping[str, Any]:
    """Return `mapping` if its keys are just the `expected` ones."""
    names = [key.name for key in expected]
    if not isinstance(mapping, dict):
        raise InputError(
            f"{where.rstrip(': .')} must be a mapping with the keys {', '.join(names)},"
            f" got {shown(mapping)}"
        )
    for key in mapping:
        if key not in names:
            raise InputError(
                f"{where}{shown(key)} is not a known key, there are {', '.join(names)};"
                f" its value is {shown(mapping[key])}"
            )
    for name in names:
        if name not in mapping:
            raise InputError(f"{where}{name} is missing")
    return mapping


def _checked(section: Any, keys: tuple[Field[Any], ...], where: str) -> Mapping[str, Any]:
    """Return `section` if every key is known and every value satisfies its rule."""
    values = _known_keys(section, keys, where)
    for key in keys:
        if not key.metadata["holds"](values[key.name]):
            raise InputError(
                f"{where}{key.name} must be {key.metadata['text']}, got {shown(values[key.name])}"
            )
    return values
