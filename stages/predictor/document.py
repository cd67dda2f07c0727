"""The format of `predictor.json`, which is all that is needed to predict.

Plain JSON, so that nobody has to unpickle a model, and read with the standard library alone, so
that it costs nothing to start. The document has the fields of `Predictor`, in their order.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import chain, count
from pathlib import Path
from sys import float_info
from typing import Any

from stages.columns.inputs import Input, Schema
from stages.project import files
from stages.project.cli import InputError
from stages.project.files import PREDICTOR, SCORES
from stages.project.text import named, shown

FORMAT = "regression predictor"
VERSION = 4
LARGEST = 1000  # exponent: powers of two are doubles


@dataclass(frozen=True)
class Intercept:
    """The intercept, number · 2^-exponent, in units of the target."""

    number: int
    exponent: int

    @property
    def value(self) -> float:
        return math.ldexp(self.number, -self.exponent)


@dataclass(frozen=True)
class Feature:
    """A feature: its range in the training rows, and its weight's code and exponent."""

    input: Input
    min: float
    max: float
    code: int
    exponent: int

    @property
    def name(self) -> str:
        return self.input.name


@dataclass(frozen=True)
class Predictor:
    """A quantized linear model: ``intercept + Σ multiplier · (feature / 2^exponent)``."""

    dataset: str
    target: str
    unit: str  # of the target
    missing: str  # what is done about gaps: fail, drop or mean
    levels: Mapping[str, tuple[str, ...]]  # of each column of text, the baseline first
    bits: int  # 1 to 16, of a code
    intercept: Intercept
    features: tuple[Feature, ...]  # in the order in which a prediction adds them up

    @property
    def schema(self) -> Schema:
        """What the table is called, and what its columns are."""
        head = self.dataset, self.target, self.unit, self.missing, self.levels
        return Schema(*head, tuple(feature.input for feature in self.features))

    @property
    def multipliers(self) -> tuple[int, ...]:
        """The odd numbers that the codes stand for: 2 · code - (2^bits - 1)."""
        return tuple(2 * feature.code - (2**self.bits - 1) for feature in self.features)

    @property
    def coef(self) -> tuple[float, ...]:
        """The weights, ``multiplier · 2^-exponent``."""
        exponents = (-feature.exponent for feature in self.features)
        return tuple(map(math.ldexp, self.multipliers, exponents))


def save(predictor: Predictor, path: Path) -> None:
    """Write `predictor` to `path`."""
    features = [
        feature.input.to_json() | {k: v for k, v in vars(feature).items() if k != "input"}
        for feature in predictor.features
    ]
    document = {"format": FORMAT, "version": VERSION} | asdict(predictor) | {"features": features}
    files.save_json(document, path)


def load(path: Path) -> Predictor:
    """Read the predictor at `path`; an `InputError` names the field that is wrong or missing."""
    return parse(files.load_json(path), str(path))


def digest(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, by which scores and a page name their predictor."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_scores(root: Path = Path()) -> Any:
    """Read the scores below `root`; an `InputError` says that they are not of the predictor."""
    scores = files.load_json(root / SCORES)
    with files.reading(root / SCORES):
        if scores["predictor"] != digest(root / PREDICTOR):
            raise InputError(f"{SCORES} is of another model than {PREDICTOR}: run `dvc repro`")
    return scores


def parse(document: Any, name: str) -> Predictor:
    """Check the JSON `document`, which came from the file `name`; for errors see `load`."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{name}: not a predictor, its format must be '{FORMAT}'")
    if (version := document.get("version")) != VERSION:
        what = f"version {shown(version)} is unknown, this program reads {VERSION}"
        raise InputError(f"{name}: {what}: `dvc repro` makes it anew")
    try:
        values = _fields(Predictor, document)
        values["levels"] = dict(map(_levels, document["levels"], document["levels"].values()))
        values["intercept"] = Intercept(**_fields(Intercept, document["intercept"], "intercept."))
        values["features"] = tuple(map(_feature, document["features"], count()))
        predictor = Predictor(**values)
        for holds, mistake in _rules(predictor):
            if not holds:
                raise ValueError(mistake)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    return predictor


# what JSON has for a type, where this is another one
_JSON_TYPES: Mapping[Any, tuple[type, ...]] = {
    str | None: (str,),
    float: (int, float),
    float | None: (int, float),
    Intercept: (dict,),
    Mapping[str, tuple[str, ...]]: (dict,),
    tuple[Feature, ...]: (list,),
}


def _fields(kind: type, document: Any, where: str = "") -> dict[str, Any]:
    """Take the fields of the dataclass `kind` out of `document`, each of its type."""
    values = {}
    for field in fields(kind):
        value: Any = document.get(field.name) if isinstance(document, dict) else None
        if value is None and field.default is not MISSING:
            continue
        allowed: tuple[Any, ...] = _JSON_TYPES.get(field.type, (field.type,))
        if type(value) not in allowed:
            types = " or ".join(each.__name__ for each in allowed)
            raise ValueError(f"{where}{field.name} must be of type {types}, got {shown(value)}")
        if float in allowed and abs(value) > float_info.max:
            raise ValueError(f"{where}{field.name} is too large, got {shown(value)}")
        values[field.name] = float(value) if float in allowed else value
    return values


def _levels(column: str, levels: Any) -> tuple[str, tuple[str, ...]]:
    is_texts = type(levels) is list and all(type(level) is str for level in levels)
    if not is_texts or not 0 < len({*levels}) == len(levels):
        raise ValueError(f"levels: {named(column)} must be different texts, got {shown(levels)}")
    return column, tuple(levels)


def _feature(document: Any, index: int) -> Feature:
    where = f"features[{index}]."
    values = _fields(Input, document, where)
    return Feature(**_fields(Feature, document | {"input": Input(**values)}, where))


def _rules(predictor: Predictor) -> Iterator[tuple[bool, str]]:
    """Yield what must hold, and what to say if it does not."""
    schema, missing, bits = predictor.schema, predictor.missing, predictor.bits
    is_known = missing in ("fail", "drop", "mean")
    yield is_known, f"missing must be fail, drop or mean, got {shown(missing)}"
    for each in schema.inputs:
        has_fill = each.missing or each.fill is not None
        rule = f"fill of {named(each.name)} does not go with missing, which is {missing}"
        yield has_fill == (missing == "mean"), rule
        levels = schema.levels.get(each.column, ())
        known = bool(levels) and each.level in (None, *levels[1:])
        yield each.kind != "text" or known, f"{named(each.name)} is none of the levels"
    names = schema.dataset, schema.unit, *schema.columns
    for text in chain(names, *schema.levels.values()):
        yield text.isprintable(), f"{shown(text)} does not print"
    yield 1 <= bits <= 16, f"bits must be from 1 to 16, got {shown(bits)}"
    last = 2**bits - 1
    for feature in predictor.features:
        name, code = named(feature.name), feature.code
        yield feature.min <= feature.max, f"min of {name} must not be above its max"
        yield 0 <= code <= last, f"code of {name} must be from 0 to {last}, got {shown(code)}"
    number, exponent = predictor.intercept.number, predictor.intercept.exponent
    exponents = (exponent, *(feature.exponent for feature in predictor.features))
    within = max(map(abs, exponents)) <= LARGEST
    yield within, f"exponents must be from -{LARGEST} to {LARGEST}"
    finite = number.bit_length() - min(exponent, 0) < 1024  # bits, so that both are doubles
    yield finite, "exponents must give a finite intercept and weights"
