"""Values and names for messages: short, and on one line."""

from collections.abc import Sequence

SHOWN = 80  # characters of a value
NAMED = 40  # characters of a name
LISTED = 20  # names in a list


def cut(text: str, length: int) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= length else text[:length] + "…"


def show(value: object) -> str:
    """Return a value as Python writes it, short."""
    return repr(cut(value, SHOWN)) if isinstance(value, str) else cut(repr(value), SHOWN)


def label(column: str) -> str:
    """Return the name of a column, short, and quoted where it would not print."""
    short = cut(column, NAMED)
    return short if short.isprintable() and short == short.strip() != "" else repr(short)


def join(columns: Sequence[str], separator: str = ", ") -> str:
    """Return the names of columns, not all if there are many."""
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return separator.join(map(label, columns[:LISTED])) + more
