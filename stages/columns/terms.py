"""Products and ratios as people write them: `price / area`, `bmi * smoker = yes`."""

import re

from stages.columns.sql import identifier
from stages.project.cli import InputError
from stages.project.text import show

# a name, which may be quoted, and the operator behind it
NAME = re.compile(r'(?:"((?:[^"]|"")+)"|(.+?))(?:\s+([*/=])\s+|$)', re.DOTALL)


def parse_term(text: str) -> tuple[str, list[tuple[str, str, str | None]]]:
    """Return a term with single spaces, and the operator, column and level of each factor."""
    words, factors, operator = [], list[tuple[str, str, str | None]](), "*"
    for quoted, plain, behind in NAME.findall(text.strip()):
        name = quoted.replace('""', '"') or plain
        if operator == "=" and factors[-1][2] is None:
            factors[-1] = (*factors[-1][:2], name)
        else:
            factors.append((operator, name, None))
        words += [f'"{quoted}"' if quoted else plain, behind]
        operator = behind
    if not 2 <= len(factors) <= 4 or any(operator == "=" for operator, *_ in factors):
        what = "2 to 4 columns, or levels as in city = Rome, with ' * ' or ' / ' between them"
        raise InputError(f"load.derived: {show(text)} must be {what}")
    return " ".join(words).rstrip(), factors


def write_factor(name: str, level: str | None = None) -> str:
    """Return a column, or a level of it, as a term has it."""
    names = [name] if level is None else [name, level]
    is_odd = re.compile(r'^[\s"]|\s$|\s[*/=]\s')
    return " = ".join(identifier(each) if is_odd.search(each) else each for each in names)
