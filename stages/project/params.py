"""`params.yaml` as one validated object: every value has its type and lies in its range."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
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


def _or_null(text: str, holds: Callable[[Any], bool]) -> Any:
    return _rule(f"{text}, or null", lambda x: x is None or holds(x))


def _integer(low: int, high: int) -> Any:
    # type() and not isinstance(): `bits: true` is a bool, which must not pass for 1
    return _rule(f"an integer from {low} to {high}", lambda x: type(x) is int and low <= x <= high)


def _one_of(*choices: str) -> Any:
    return _rule(f"one of {', '.join(choices)}", lambda x: x in choices)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < inf


def _is_text(value: Any) -> bool:
    return type(value) is str and value != "" and value.isprintable()


def _are_columns(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value)) and 0 < len(value) == len({*value})


@dataclass(frozen=True)
class Load:
    dataset: str = _rule("the name of a data set, or a file", _is_text)
    target: str | None = _or_null("the name of a column", _is_text)
    features: Sequence[str] | None = _or_null("a list of different columns", _are_columns)
    unit: str | None = _or_null("a text", _is_text)
    key: str | Sequence[str] | None = _or_null(
        "a column, a list of different columns", lambda x: _is_text(x) or _are_columns(x)
    )
    missing: str = _one_of("fail", "drop", "mean")
    levels: int = _integer(1, 1000)
    test_size: float = _rule(
        "a number between 0 and 1, both excluded", lambda x: _is_number(x) and 0 < x < 1
    )
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
    min_r2: float | None = _or_null("a number of at most 1", lambda x: _is_number(x) and x <= 1)
    max_r2_drop: float = _rule("a number of at least 0", lambda x: _is_number(x) and x >= 0)


@dataclass(frozen=True)
class Params:
    """All parameters, one section for each command that has any."""

    load: Load
    quantize: Quantize
    evaluate: Evaluate
    gate: Gate


def read(path: Path = Path("params.yaml")) -> Params:
    """Read a parameter file; an `InputError` names a key that is wrong, missing or unknown."""
    text = path.read_bytes()
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # the parser has an error of its own for each kind of nonsense
        reason = shorten(str(error), 4 * SHOWN, placeholder="…")
        raise InputError(f"{path}: not valid YAML: {reason}") from error
    return _checked(Params, document, f"{path}: ")  # type: ignore[no-any-return]


def _checked(kind: Any, mapping: Any, where: str) -> Any:
    """Make a `kind` of a mapping with just its keys, and values that their rules allow."""
    keys = {key.name: key for key in fields(kind)}
    known = ", ".join(keys)
    if not isinstance(mapping, dict):
        place = where.rstrip(": .")
        raise InputError(f"{place} must be a mapping with the keys {known}, got {shown(mapping)}")
    for name, value in mapping.items():
        if name not in keys:
            raise InputError(
                f"{where}{shown(name)} is not a known key, there are {known};"
                f" its value is {shown(value)}"
            )
    values = {}
    for name, key in keys.items():
        if name not in mapping:
            raise InputError(f"{where}{name} is missing")
        values[name] = value = mapping[name]
        if is_dataclass(key.type):
            values[name] = _checked(key.type, value, f"{where}{name}.")
        elif not key.metadata["holds"](value):
            raise InputError(f"{where}{name} must be {key.metadata['text']}, got {shown(value)}")
    return kind(**values)
