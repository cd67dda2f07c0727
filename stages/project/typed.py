"""Documents of declared types: what they must be like, and what to say if they are not."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct

from stages.project.text import shown

T = TypeVar("T")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")  # of the path to a value, as msgspec writes it


def convert(document: Any, kind: type[T]) -> T:
    """Return a document of JSON or YAML as a `kind`.

    Raises
    ------
    ValueError
        It is none: the message names the key, what it must be, and the value.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        where, value = "", document
        hint: Any = kind
        with suppress(LookupError, TypeError):  # a name can look like the path
            for name, index in STEP.findall(path.partition("[...]")[0]):
                value = value[name or int(index)]
                hint = _fields(hint).get(name) if name else get_args(hint)[0]
                where += f".{name}" if name else f"[{index}]"
        where = where.removeprefix(".")
        if error.__cause__:  # a rule of the type's own
            what = f": {error.__cause__}"
        elif fields := _fields(hint):
            what = f" must have the keys {', '.join(fields)}: {text}"
        elif told := describe(hint):
            what = f" must be {told}, got {shown(value)}"
        else:
            expected, _, _ = text.partition(", got `")
            what = f": {expected}, got {shown(value)}"
        raise ValueError((where + what).removeprefix(": ").strip()) from error


def rules(kind: type[Struct]) -> Mapping[str, str]:
    """Return for each field of a type what its value must be, for people."""
    return {name: describe(hint) for name, hint in _fields(kind).items()}


def describe(hint: Any) -> str:
    """Return the description of `Annotated[…, Meta(description=…)]`, or nothing."""
    told = (meta.description for meta in getattr(hint, "__metadata__", ()))
    return next(filter(None, told), "")


def _fields(hint: Any) -> Mapping[str, Any]:
    is_struct = isinstance(hint, type) and issubclass(hint, Struct)
    return {field.name: field.type for field in msgspec.structs.fields(hint)} if is_struct else {}
