"""Values and names for messages: short, on one line, and safe for whatever a user gave."""

import reprlib
from collections.abc import Sequence

SHOWN = 80  # characters of a value
NAMED = 40  # characters of a name
LISTED = 20  # names in a list

_repr = reprlib.Repr()
_repr.maxlevel = 2  # the aliases of YAML can make a value of a line grow without end
_repr.maxstring = _repr.maxother = SHOWN


def cut(text: str, length: int) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= length else text[:length] + "…"


def shown(value: object) -> str:
    """Return a value as Python writes it, short."""
    try:  # reprlib cuts a string in its middle
        text = repr(cut(value, SHOWN)) if isinstance(value, str) else _repr.repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    return cut(text, 2 * SHOWN)


def named(column: str) -> str:
    """Return the name of a column, short, and quoted where it would not print."""
    short = cut(column, NAMED)
    return short if short.isprintable() and short else repr(short)


def listed(columns: Sequence[str]) -> str:
    """List names of columns, not all if there are many."""
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return ", ".join(map(named, columns[:LISTED])) + more
