"""The format of `predictor.json`, which is all that is needed to predict.

Plain JSON, so that nobody has to unpickle a model, and read with the standard library alone, so
that it costs nothing to start. The document has the fields of `Predictor`, in their order.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stages.project import files
from stages.project.cli import InputError
from stages.project.text import listed, named, shown

FORMAT = "cali-reg predictor"
VERSION = 3
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

    name: str
    min: float
    max: float
    code: int
    exponent: int


@dataclass(frozen=True)
class Predictor:
    """A quantized linear model: ``intercept + Σ multiplier · (feature / 2^exponent)``.

    Attributes
    ----------
    dataset, target, unit : str
        The data that it was trained on, what it predicts and in which unit.
    bits : int, 1 to 16
        Width of a weight's code.
    intercept : Intercept
    features : tuple of Feature
        In the order in which a prediction adds them up.
    """

    dataset: str
    target: str
    unit: str
    bits: int
    intercept: Intercept
    features: tuple[Feature, ...]

    @property
    def multipliers(self) -> tuple[int, ...]:
        """The odd numbers that the codes stand for: 2 · code - (2^bits - 1)."""
        return tuple(2 * feature.code - (2**self.bits - 1) for feature in self.features)

    @property
    def coef(self) -> tuple[float, ...]:
        """The weights, ``multiplier · 2^-exponent``."""
        pairs = zip(self.multipliers, self.features, strict=True)
        return tuple(math.ldexp(multiplier, -feature.exponent) for multiplier, feature in pairs)


def save(predictor: Predictor, path: Path) -> None:
    """Write `predictor` to `path`."""
    files.save_json({"format": FORMAT, "version": VERSION} | asdict(predictor), path)


def load(path: Path) -> Predictor:
    """Read the predictor at `path`.

    Raises
    ------
    InputError
        It is not JSON or not a predictor, its version is unknown, or a field is missing, of the
        wrong type or out of range.
    """
    return parse(files.load_json(path), str(path))


def parse(document: Any, name: str) -> Predictor:
    """Check the JSON `document`, which came from the file `name`; for errors see `load`."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{name}: not a predictor, its format must be '{FORMAT}'")
    if document.get("version") != VERSION:
        raise InputError(
            f"{name}: version {shown(document.get('version'))} is unknown, this program reads"
            f" {VERSION}: `dvc repro` makes it anew"
        )
    values = _fields(Predictor, document, f"{name}: ")
    values["intercept"] = Intercept(
        **_fields(Intercept, document["intercept"], f"{name}: intercept.")
    )
    values["features"] = tuple(
        Feature(**_fields(Feature, feature, f"{name}: features[{index}]."))
        for index, feature in enumerate(document["features"])
    )
    predictor = Predictor(**values)
    _check_ranges(predictor, f"{name}: ")
    return predictor


# what JSON has for a field's type
_JSON_TYPES: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (int, float),
    Intercept: (dict,),
    tuple[Feature, ...]: (list,),
}


def _fields(kind: type, document: Any, where: str) -> dict[str, Any]:
    """Take the fields of the dataclass `kind` out of `document`, each of its type."""
    values = {}
    for field in fields(kind):
        allowed = _JSON_TYPES[field.type]
        value = document.get(field.name) if isinstance(document, dict) else None
        if value is None or type(value) not in allowed:
            names = " or ".join(kind.__name__ for kind in allowed)
            raise InputError(f"{where}{field.name} must be of type {names}, got {shown(value)}")
        try:
            values[field.name] = float(value) if field.type is float else value
        except OverflowError as error:
            raise InputError(f"{where}{field.name} is too large, got {shown(value)}") from error
    return values


def _check_ranges(predictor: Predictor, where: str) -> None:
    if not 1 <= predictor.bits <= 16:
        raise InputError(f"{where}bits must be from 1 to 16, got {shown(predictor.bits)}")
    if not predictor.features:
        raise InputError(f"{where}features must not be empty")
    names = [feature.name for feature in predictor.features]
    if len({name.lower() for name in names}) < len(names):  # SQL does not see case
        raise InputError(f"{where}features must have names of their own, got {listed(names)}")
    texts = (*names, predictor.dataset, predictor.target, predictor.unit)
    for text in texts:
        if not text.isprintable():
            raise InputError(f"{where}{shown(text)} does not print")
    for feature in predictor.features:
        if feature.min > feature.max:
            raise InputError(f"{where}min of {named(feature.name)} must not be above its max")
        if not 0 <= feature.code < 2**predictor.bits:
            raise InputError(
                f"{where}code of {named(feature.name)} must be from 0 to {2**predictor.bits - 1},"
                f" got {shown(feature.code)}"
            )
    exponents = (
        *(feature.exponent for feature in predictor.features),
        predictor.intercept.exponent,
    )
    for exponent in exponents:
        if not -LARGEST <= exponent <= LARGEST:
            raise InputError(f"{where}exponents must be from -{LARGEST} to {LARGEST}")
    try:
        ranges = (limit for feature in predictor.features for limit in (feature.min, feature.max))
        finite = all(map(math.isfinite, (*predictor.coef, predictor.intercept.value, *ranges)))
    except OverflowError:
        finite = False
    if not finite:
        raise InputError(
            f"{where}exponents must give a finite intercept and weights, and ranges be finite"
        )
