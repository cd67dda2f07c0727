"""Documents of JSON and YAML as declared types, and what to say if they are none."""

import re
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from stages.project.text import show

T = TypeVar("T")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")  # of the path to a value, as msgspec writes it


def convert(document: Any, kind: type[T]) -> T:
    """Return a document as a `kind`; a `ValueError` names the key, the rule and the value."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        where, value = path.removeprefix(".").removesuffix("`"), document
        rule: Any = msgspec.inspect.type_info(kind)
        steps = STEP.findall(path)
        with suppress(LookupError, TypeError):  # a name can look like the path
            for name, index in steps:
                value = value[name or int(index)]
        with suppress(AttributeError, LookupError):
            for name, _ in steps:
                rule = {field.name: field.type for field in rule.fields}[name]
        if error.__cause__:  # a rule of the type's own
            text = str(error.__cause__)
        elif text.startswith("Invalid enum value") and hasattr(rule, "values"):
            text = f"must be one of {', '.join(map(str, rule.values))}, got {show(value)}"
        elif text.startswith("Expected"):
            text = f"{text.partition(', got `')[0]}, got {show(value)}"
        raise ValueError(f"{where}: {text}" if where else text) from error
