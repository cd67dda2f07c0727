"""The format of `predictor.json`, which is all that is needed to predict.

Plain JSON, so that nobody has to unpickle a model, and read with the standard library alone, so
that it costs nothing to start. The document has the fields of `Predictor`, in their order.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stages.project import files
from stages.project.cli import InputError
from stages.project.text import listed, named, shown
from stages.tables.inputs import Input, Schema

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
    """A quantized linear model: ``intercept + Σ multiplier · (feature / 2^exponent)``.

    Attributes
    ----------
    dataset, target, unit : str
        The data that it was trained on, what it predicts and in which unit.
    missing : {'fail', 'drop', 'mean'}
        What is done about gaps.
    levels : mapping of str to tuple of str
        For each column of text the levels that training has seen, the baseline first.
    bits : int, 1 to 16
        Width of a weight's code.
    intercept : Intercept
    features : tuple of Feature
        In the order in which a prediction adds them up.
    """

    dataset: str
    target: str
    unit: str
    missing: str
    levels: Mapping[str, tuple[str, ...]]
    bits: int
    intercept: Intercept
    features: tuple[Feature, ...]

    @property
    def schema(self) -> Schema:
        """What the table is called, and what its columns are."""
        inputs = tuple(feature.input for feature in self.features)
        head = self.dataset, self.target, self.unit, self.missing, self.levels
        return Schema(*head, inputs)

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
    features = [
        feature.input.to_json() | {k: v for k, v in vars(feature).items() if k != "input"}
        for feature in predictor.features
    ]
    document = {"format": FORMAT, "version": VERSION} | asdict(predictor) | {"features": features}
    files.save_json(document, path)


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
    values["levels"] = _levels(document["levels"], f"{name}: levels: ")
    values["features"] = tuple(
        _feature(feature, f"{name}: features[{index}].")
        for index, feature in enumerate(document["features"])
    )
    predictor = Predictor(**values)
    _check_columns(predictor, f"{name}: ")
    _check_ranges(predictor, f"{name}: ")
    return predictor


def _levels(document: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    for column, levels in document.items():
        texts = type(levels) is list and all(type(level) is str for level in levels)
        if not texts or not 0 < len({*levels}) == len(levels):
            raise InputError(f"{where}{named(column)} must be different texts, got {shown(levels)}")
    return {column: tuple(levels) for column, levels in document.items()}


def _feature(document: Any, where: str) -> Feature:
    values = _fields(Input, document, where)
    try:
        values = {"input": Input(**values)}
    except ValueError as error:
        raise InputError(f"{where}{error}") from error
    return Feature(**values | _fields(Feature, document | values, where))


# what JSON has for a field's type
_JSON_TYPES: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    str | None: (str,),
    int: (int,),
    bool: (bool,),
    float: (int, float),
    float | None: (int, float),
    Input: (Input,),
    Intercept: (dict,),
    Mapping[str, tuple[str, ...]]: (dict,),
    tuple[Feature, ...]: (list,),
}


def _fields(kind: type, document: Any, where: str) -> dict[str, Any]:
    """Take the fields of the dataclass `kind` out of `document`, each of its type."""
    values = {}
    for field in fields(kind):
        allowed = _JSON_TYPES[field.type]
        value = document.get(field.name) if isinstance(document, dict) else None
        if value is None and field.default is not MISSING:
            continue
        if type(value) not in allowed:
            names = " or ".join(kind.__name__ for kind in allowed)
            raise InputError(f"{where}{field.name} must be of type {names}, got {shown(value)}")
        try:
            values[field.name] = float(value) if float in allowed else value  # type: ignore[arg-type]
        except OverflowError as error:
            raise InputError(f"{where}{field.name} is too large, got {shown(value)}") from error
    return values


def _check_columns(predictor: Predictor, where: str) -> None:
    if not predictor.features:
        raise InputError(f"{where}features must not be empty")
    if predictor.missing not in ("fail", "drop", "mean"):
        raise InputError(
            f"{where}missing must be fail, drop or mean, got {shown(predictor.missing)}"
        )
    names = [feature.name for feature in predictor.features]
    kinds = {(each.input.column.lower(), each.input.kind) for each in predictor.features}
    if len({*names}) < len(names) or len(kinds) > len(predictor.schema.kinds):
        raise InputError(f"{where}features must have names of their own, got {listed(names)}")
    for feature in predictor.features:
        has_fill = feature.input.missing or feature.input.fill is not None
        if has_fill != (predictor.missing == "mean"):
            raise InputError(
                f"{where}fill of {named(feature.name)} does not go with missing,"
                f" which is {predictor.missing}"
            )
        column, level = feature.input.column, feature.input.level
        levels = predictor.levels.get(column, ())
        is_known = bool(levels) if level is None else level in levels[1:]
        if feature.input.kind == "text" and not is_known:
            raise InputError(f"{where}{named(feature.name)} is none of the levels")
    every = (level for levels in predictor.levels.values() for level in levels)
    for text in (predictor.dataset, predictor.target, predictor.unit, *names, *every):
        if not text.isprintable():
            raise InputError(f"{where}{shown(text)} does not print")


def _check_ranges(predictor: Predictor, where: str) -> None:
    if not 1 <= predictor.bits <= 16:
        raise InputError(f"{where}bits must be from 1 to 16, got {shown(predictor.bits)}")
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
