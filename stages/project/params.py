"""`params.yaml` as one validated object: every value has its type and lies in its range."""

from collections.abc import Sequence
from pathlib import Path
from sys import float_info
from typing import Annotated, Literal

from msgspec import Meta, Struct

# what DVC reads it with: to YAML 1.1, as PyYAML has it, 1e-3 is a text and 010 is eight
from ruamel.yaml import YAML

from stages.project.cli import InputError
from stages.project.text import show
from stages.project.typed import convert

Text = Annotated[str, Meta(min_length=1)]
LeastR2 = Annotated[float, Meta(ge=-float_info.max, le=1)] | None
Columns = Annotated[list[Text], Meta(min_length=1)]


class Load(Struct, frozen=True, forbid_unknown_fields=True):
    dataset: Text
    target: Text | None
    features: Columns | None
    derived: list[Text]
    key: Text | Columns | None
    missing: Literal["fail", "drop", "mean"]
    na: list[str | int | float]
    dates: Literal["day_first", "month_first"] | None
    categories: list[Text]
    levels: Annotated[int, Meta(ge=1, le=1000)]
    order: Text | None
    test_size: Annotated[float, Meta(ge=0, lt=1)]
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)]

    def __post_init__(self) -> None:
        if not self.dataset.isprintable():
            raise ValueError(f"{show(self.dataset)} does not print")

    @property
    def markers(self) -> Sequence[str]:
        """What marks a gap in CSV."""
        return [*map(str, self.na)]

    @property
    def keys(self) -> Sequence[str]:
        """The columns that together name a row; none where `key` is null."""
        return [self.key] if isinstance(self.key, str) else self.key or []


class Train(Struct, frozen=True, forbid_unknown_fields=True):
    folds: Annotated[int, Meta(ge=2, le=60)]
    tolerance: Annotated[float, Meta(gt=0, lt=1)]


class Quantize(Struct, frozen=True, forbid_unknown_fields=True):
    bits: Annotated[int, Meta(ge=1, le=16)]
    rounding: Literal["optimal", "gptq", "nearest"]


class Evaluate(Struct, frozen=True, forbid_unknown_fields=True):
    samples: Annotated[int, Meta(ge=5, le=1000)]


class Gate(Struct, frozen=True, forbid_unknown_fields=True):
    min_r2: LeastR2 | dict[str, LeastR2]  # one, or one for each data set
    min_cv_r2: LeastR2 | dict[str, LeastR2]
    max_r2_drop: Annotated[float, Meta(ge=0, le=float_info.max)]


class Report(Struct, frozen=True, forbid_unknown_fields=True):
    unit: Text | dict[str, Text] | None  # one, or one for each data set

    def __post_init__(self) -> None:
        for text in self.unit.values() if isinstance(self.unit, dict) else [self.unit or "?"]:
            if not text.strip() or not text.isprintable():
                raise ValueError(f"{show(text)} does not print")


class Params(Struct, frozen=True, forbid_unknown_fields=True):
    load: Load
    train: Train
    quantize: Quantize
    evaluate: Evaluate
    gate: Gate
    report: Report


def read(path: Path = Path("params.yaml")) -> Params:
    """Read a parameter file; an `InputError` names a key that is wrong, missing or unknown."""
    text = path.read_bytes()
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # the parser has an error of its own for each kind of nonsense
        raise InputError(f"{path}: not valid YAML: {error}") from error
    try:
        return convert(document, Params)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
