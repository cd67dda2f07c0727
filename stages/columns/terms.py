"""Products and ratios as people write them: `AveRooms / AveOccup`, `bmi * smoker = yes`."""

import re

from stages.project.cli import InputError
from stages.project.text import show

MOST = 4  # factors
Factor = tuple[str, str, str | None]  # the operator before it, its column, and a level of a text
# a name, quoted if need be, and the operator behind it
NAME = re.compile(r'(?:"((?:[^"]|"")+)"|(.+?))(?:\s+([*/=])\s+|$)', re.DOTALL)


def parse_term(text: str) -> tuple[str, list[Factor]]:
    """Return a term with single spaces around its operators, and its factors; the first has a *."""
    words, factors, operator = [], list[Factor](), "*"
    for quoted, plain, behind in NAME.findall(text.strip()):
        name = quoted.replace('""', '"') or plain
        if operator == "=" and factors[-1][2] is None:
            factors[-1] = (*factors[-1][:2], name)
        else:
            factors.append((operator, name, None))
        words += [f'"{quoted}"' if quoted else plain, behind]
        operator = behind
    if not 2 <= len(factors) <= MOST or "=" in [operator for operator, *_ in factors]:
        what = f"2 to {MOST} columns, or levels of texts, with ' * ' or ' / ' between"
        raise InputError(f"load.derived: {show(text)} must be {what}, as in a / b or a * city = x")
    return " ".join(words).rstrip(), factors


def write_factor(name: str, level: str | None = None) -> str:
    """Return a column, or a level of it, as a term has it."""
    names = [name] if level is None else [name, level]
    is_odd = re.compile(r'^[\s"]|\s$|\s[*/=]\s')
    quoted = ('"' + each.replace('"', '""') + '"' for each in names)
    pairs = zip(names, quoted, strict=True)
    return " = ".join(other if is_odd.search(each) else each for each, other in pairs)
