"""`params.yaml` as one validated object: every value has its type and lies in its range."""

from collections.abc import Sequence
from pathlib import Path
from sys import float_info
from textwrap import shorten
from typing import Annotated, Literal

from msgspec import Meta, Struct

# what DVC reads it with: to YAML 1.1, as PyYAML has it, 1e-3 is a text and 010 is eight
from ruamel.yaml import YAML

from stages.project.cli import InputError
from stages.project.text import SHOWN, listed, shown
from stages.project.typed import convert

Text = Annotated[str, Meta(min_length=1)]
Columns = Annotated[list[Text], Meta(min_length=1)]


class Load(Struct, frozen=True, forbid_unknown_fields=True):
    dataset: Annotated[Text, Meta(description="the name of a data set, or a file")]
    target: Annotated[Text | None, Meta(description="the name of a column, or null")]
    features: Annotated[Columns | None, Meta(description="a list of different columns, or null")]
    unit: Annotated[Text | None, Meta(description="a text, or null")]
    key: Annotated[
        Text | Columns | None, Meta(description="a column, a list of different columns, or null")
    ]
    missing: Annotated[Literal["fail", "drop", "mean"], Meta(description="fail, drop or mean")]
    levels: Annotated[int, Meta(ge=1, le=1000, description="an integer from 1 to 1000")]
    test_size: Annotated[
        float, Meta(gt=0, lt=1, description="a number between 0 and 1, both excluded")
    ]
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="an integer from 0 to 4294967295")]

    def __post_init__(self) -> None:
        for name, columns in {"features": self.features or (), "key": self.keys}.items():
            if len({*columns}) < len(columns):
                raise ValueError(f"{name} must be different columns, got {listed(columns)}")
        for text in (self.dataset, self.target, self.unit, *(self.features or ()), *self.keys):
            if text and not text.isprintable():
                raise ValueError(f"{shown(text)} does not print")

    @property
    def keys(self) -> Sequence[str]:
        """The columns that together name a row; none where `key` is null."""
        return [self.key] if isinstance(self.key, str) else self.key or []


class Quantize(Struct, frozen=True, forbid_unknown_fields=True):
    bits: Annotated[int, Meta(ge=1, le=16, description="an integer from 1 to 16")]
    rounding: Annotated[
        Literal["optimal", "gptq", "nearest"], Meta(description="optimal, gptq or nearest")
    ]


class Evaluate(Struct, frozen=True, forbid_unknown_fields=True):
    samples: Annotated[int, Meta(ge=5, le=1000, description="an integer from 5 to 1000")]


class Gate(Struct, frozen=True, forbid_unknown_fields=True):
    min_r2: Annotated[
        Annotated[float, Meta(ge=-float_info.max, le=1)] | None,
        Meta(description="a number of at most 1, or null"),
    ]
    max_r2_drop: Annotated[
        float, Meta(ge=0, le=float_info.max, description="a number of at least 0")
    ]


class Params(Struct, frozen=True, forbid_unknown_fields=True):
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
    try:
        return convert(document, Params)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
