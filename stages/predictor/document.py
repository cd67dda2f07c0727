"""The format of `predictor.json`, which is all that is needed to predict.

It is plain JSON, so that nobody has to unpickle a model: the fields of `Predictor`, in their order.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from msgspec import Meta, Struct, field
from msgspec.structs import asdict

from stages.columns.inputs import Input, Schema
from stages.project import files
from stages.project.cli import InputError
from stages.project.files import PREDICTOR, SCORES
from stages.project.text import label, show

VERSION: Literal[5] = 5
PROOF = {True: "proven the best of their format", False: "not proven the best"}  # of weights
GAPS = {  # by what is done about them
    "fail": "a row that has one is refused",
    "drop": "a row that has one is left out",
    "mean": "the mean of the training rows takes their place, or the baseline",
}
UNITS = {"boolean": ", 1 where true and 0 where false", "date": ", days since 1970 in UTC"}
FOLDS = "R² {0[mean]:.3f} ± {0[std]:.3f} in {1} folds"
Ranges = Iterable[tuple[float, float]]  # of features in the training rows
Exponent = Annotated[int, Meta(ge=-1000, le=1000)]  # powers of two are doubles


class Intercept(Struct, frozen=True, forbid_unknown_fields=True):
    """The intercept, number · 2^-exponent, in the unit of the target."""

    number: int
    exponent: Exponent

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
    omit_defaults=True,
    tag_field="format",
    tag="regression predictor",
):
    """A quantized linear model: ``intercept + Σ multiplier · (feature / 2^exponent)``."""

    version: Literal[5] = field(default_factory=lambda: VERSION)  # which is written
    dataset: str
    target: str
    missing: Literal["fail", "drop", "mean"]  # what is done about gaps
    levels: Mapping[str, tuple[str, ...]]  # of each column of text, the baseline first
    na: tuple[str, ...] = ()  # texts of CSV that mark a gap
    bits: Annotated[int, Meta(ge=1, le=16)]  # of a code
    intercept: Intercept
    features: tuple[Feature, ...]  # in the order in which a prediction adds them up

    def __post_init__(self) -> None:
        columns = self.schema.columns  # and the schema has rules of its own
        for text in chain([self.dataset], columns, *self.levels.values()):
            if not text.isprintable():
                raise ValueError(f"{show(text)} does not print")
        for feature in self.features:
            for each in feature.factors or [feature]:
                levels = self.levels.get(each.column, ())
                allowed = levels if feature.factors else (None, *levels[1:])  # not the baseline
                if each.kind == "text" and not (levels and each.level in allowed):
                    raise ValueError(f"{label(each.name)} is none of the levels")
            if feature.code >= 2**self.bits:
                raise ValueError(f"code of {label(feature.name)} has more than {self.bits} bits")

    @classmethod
    def of(
        cls, schema: Schema, bits: int, ranges: Ranges, coef: Iterable[float], intercept: float
    ) -> Self:
        """Make the predictor of weights that are odd numbers of `bits` bits times powers of two."""
        weights = map(odd, coef)
        features = tuple(
            Feature(**asdict(each), min=low, max=high, code=(k + 2**bits - 1) // 2, exponent=e)
            for each, (low, high), (k, e) in zip(schema.inputs, ranges, weights, strict=True)
        )
        head = {name: value for name, value in asdict(schema).items() if name != "inputs"}
        return cls(**head, bits=bits, intercept=Intercept(*odd(intercept)), features=features)

    @property
    def schema(self) -> Schema:
        """What the table is called, and what its columns are."""
        return Schema(self.dataset, self.target, self.missing, self.levels, self.features, self.na)

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


def load(path: Path) -> Predictor:
    """Read a predictor; an `InputError` names the field that is wrong or missing."""
    return files.load_json(path, Predictor)


def digest(*paths: Path) -> str:
    """Return the SHA-256 of files, by which scores and reports name what they are of."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def read_report(path: Path, root: Path) -> bytes:
    """Read the page or the card of the predictor; an `InputError` says that there is none."""
    report, *made = (root / each for each in (path, PREDICTOR, SCORES))
    text = report.read_bytes() if report.is_file() and made[1].is_file() else b""
    if text and digest(*made).encode() in text:
        return text
    raise InputError(f"no {path.as_posix()} is of this model: `python -m stages.report` makes it")


def load_scores(root: Path = Path()) -> dict[str, Any]:
    """Read the scores below `root`; an `InputError` says that they are not of the predictor."""
    scores = files.load_json(root / SCORES, dict[str, Any])
    if scores.get("predictor") != digest(root / PREDICTOR):
        other = f"{SCORES.as_posix()} is of another model than {PREDICTOR.as_posix()}"
        raise InputError(f"{other}: run `dvc repro`")
    return scores


def half_width(name: str, level: str, half_widths: Mapping[str, float]) -> float:
    """Return how far an interval reaches; an `InputError` for `name` says what is allowed."""
    if level not in half_widths:
        nothing = f"left out, as {SCORES.as_posix()} has no half-widths of this model"
        raise InputError(f"{name} is {show(level)}, must be {' or '.join(half_widths) or nothing}")
    return half_widths[level]
