"""The format of `predictor.json`, which is all that is needed to predict.

Plain JSON, so that nobody has to unpickle a model. The document has the fields of `Predictor`, in
their order, behind its `format`.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from msgspec import Meta, Struct
from msgspec.structs import asdict

from stages.columns.inputs import MISSING, Input, Schema
from stages.project import files
from stages.project.cli import InputError
from stages.project.files import PREDICTOR, SCORES
from stages.project.text import named, shown

VERSION: Literal[4] = 4
Version = Annotated[Literal[4], Meta(description="4, which is what this program reads")]
PROOF = {True: "proven the best of their format", False: "not proven the best"}  # of weights
Exponent = Annotated[int, Meta(ge=-1000, le=1000)]  # powers of two are doubles


class Intercept(Struct, frozen=True, forbid_unknown_fields=True):
    """The intercept, number · 2^-exponent, in units of the target."""

    number: int
    exponent: Exponent

    def __post_init__(self) -> None:
        if self.number.bit_length() - min(self.exponent, 0) >= 1024:  # both are doubles
            raise ValueError("the intercept must be finite")

    @property
    def value(self) -> float:
        return math.ldexp(self.number, -self.exponent)


class Feature(Input, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input, its range in the training rows, and its weight's code and exponent."""

    min: float
    max: float
    code: Annotated[int, Meta(ge=0)]
    exponent: Exponent


class Predictor(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="format",
    tag="regression predictor",
):
    """A quantized linear model: ``intercept + Σ multiplier · (feature / 2^exponent)``."""

    version: Version = VERSION
    dataset: str
    target: str
    unit: str  # of the target
    missing: str  # what is done about gaps: fail, drop or mean
    levels: Mapping[str, tuple[str, ...]]  # of each column of text, the baseline first
    bits: Annotated[int, Meta(ge=1, le=16)]  # of a code
    intercept: Intercept
    features: tuple[Feature, ...]  # in the order in which a prediction adds them up

    def __post_init__(self) -> None:
        schema = self.schema  # which has rules of its own
        if self.missing not in MISSING:
            raise ValueError(f"missing must be fail, drop or mean, got {shown(self.missing)}")
        for column, levels in self.levels.items():
            if not 0 < len({*levels}) == len(levels):
                raise ValueError(f"levels of {named(column)} must differ, got {shown(levels)}")
        names = self.dataset, self.unit, *schema.columns
        for text in chain(names, *self.levels.values()):
            if not text.isprintable():
                raise ValueError(f"{shown(text)} does not print")
        for feature in self.features:
            if (feature.missing or feature.fill is not None) != (self.missing == "mean"):
                what = f"does not go with missing, which is {self.missing}"
                raise ValueError(f"fill of {named(feature.name)} {what}")
            levels = self.levels.get(feature.column, ())
            if feature.kind == "text" and not (levels and feature.level in (None, *levels[1:])):
                raise ValueError(f"{named(feature.name)} is none of the levels")
            if feature.min > feature.max:
                raise ValueError(f"min of {named(feature.name)} must not be above its max")
            if feature.code >= 2**self.bits:
                raise ValueError(f"code of {named(feature.name)} has more than {self.bits} bits")

    @classmethod
    def of(
        cls,
        schema: Schema,
        bits: int,
        ranges: Iterable[tuple[float, float]],
        coef: Iterable[float],
        intercept: float,
    ) -> Self:
        """Make the predictor of weights that are odd numbers of `bits` bits times powers of two."""
        features = []
        for each, (low, high), weight in zip(schema.inputs, ranges, coef, strict=True):
            multiplier, exponent = odd(weight)
            code = (multiplier + 2**bits - 1) // 2
            own = asdict(each)
            features.append(Feature(**own, min=low, max=high, code=code, exponent=exponent))
        head = {name: value for name, value in asdict(schema).items() if name != "inputs"}
        whole = Intercept(*odd(intercept))
        return cls(**head, bits=bits, intercept=whole, features=tuple(features))

    @property
    def schema(self) -> Schema:
        """What the table is called, and what its columns are."""
        head = self.dataset, self.target, self.unit, self.missing, self.levels
        return Schema(*head, self.features)

    @property
    def multipliers(self) -> tuple[int, ...]:
        """The odd numbers that the codes stand for: 2 · code - (2^bits - 1)."""
        return tuple(2 * feature.code - (2**self.bits - 1) for feature in self.features)

    @property
    def coef(self) -> tuple[float, ...]:
        """The weights, ``multiplier · 2^-exponent``."""
        exponents = (-feature.exponent for feature in self.features)
        return tuple(map(math.ldexp, self.multipliers, exponents))


def odd(value: float) -> tuple[int, int]:
    """Return the odd number k and the exponent e of value = k · 2^-e; both are 0 for 0."""
    numerator, denominator = value.as_integer_ratio()
    twos = max(0, (numerator & -numerator).bit_length() - 1)
    return numerator >> twos, denominator.bit_length() - 1 - twos


def save(predictor: Predictor, path: Path) -> None:
    files.save_json(predictor, path)


def load(path: Path) -> Predictor:
    """Read the predictor at `path`; an `InputError` names the field that is wrong or missing."""
    return files.load_json(path, Predictor)


def digest(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, by which scores and a page name their predictor."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_scores(root: Path = Path()) -> dict[str, Any]:
    """Read the scores below `root`; an `InputError` says that they are not of the predictor."""
    scores = files.load_json(root / SCORES, dict[str, Any])
    if scores.get("predictor") != digest(root / PREDICTOR):
        raise InputError(f"{SCORES} is of another model than {PREDICTOR}: run `dvc repro`")
    return scores
