"""How texts of CSV are read: the table of readings, each a name that shows it and its SQL.

A column has one reading for all of its values. It stands in predictor.json, so that the next file
is read the same way. Another reading is another line of the table.
"""

import re
from typing import NamedTuple

from stages.columns.sql import literal

# of money; only these letters, as others before digits are codes of something else
CURRENCY = (
    r"(?:[A-Z]{0,3}\p{Sc}|USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|TRY|BRL"
    r"|MXN|ZAR|KRW|ILS|kr|zł|Kč)"
)
# digits, beside point or comma
GROUPING = "' \N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
# what datetime and DuckDB read alike, which cut digits off a second: ISO 8601, also as .NET, Java
# and BigQuery write it; numbers may have one digit
MOMENT = re.compile(
    r"\d\d\d\d-\d\d?-\d\d?([ T]([01]?\d|2[0-3]):\d\d?(:\d\d?(\.\d+)?)?"
    r"(Z| UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?",
    re.ASCII,
)
YEAR_FIRST = "translate({}[:10], './', '--') || {}[11:]"
# others can be infinite, or cannot be written to CSV; year() would be 1 for the year 0, too
IN_YEARS = "BETWEEN {moment} '0001-01-01' AND {moment} '9999-12-31 23:59:59.999999'"
MINUS = "\N{MINUS SIGN}"
TIMES = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")


class Reading(NamedTuple):
    """A way to read texts as values of a kind."""

    kind: str
    template: str  # of SQL, {} being the text; NULL where it does not fit

    def sql(self, text: str) -> str:
        return self.template.replace("{}", text)


def _number(decimal: str, group: str, unit: str = "") -> Reading:
    """Read numbers as people format them: digits in groups, money, brackets for a minus."""
    sign, space = f"([-+{MINUS}]?)", f"[{GROUPING}]?"
    before, behind = ("", unit) if unit else (f"{CURRENCY}?", f"{CURRENCY}?")
    front = f"(?:{sign}{space}{before}{space}|{before}{space}{sign}{space})"
    whole = rf"[1-9]\d{{0,2}}(?:[{group}{GROUPING}]\d{{3}})+|\d+"
    digits = rf"((?:(?:{whole})(?:[{decimal}]\d*)?|[{decimal}]\d+)(?:[eE][-+]?\d+)?)"
    pattern = literal(f"{front}{digits}{space}{behind}")
    text = "CASE WHEN {} LIKE '(%)' THEN '-' || {}[2:-2] ELSE {} END"
    found = rf"regexp_replace({text}, {pattern}, '\1\2\3')"
    plain = f"translate({found}, {literal(MINUS + decimal + group + GROUPING)}, '-.')"
    is_number = f"regexp_full_match({text}, {pattern})"
    return Reading("number", f"CASE WHEN {is_number} THEN TRY_CAST({plain} AS DOUBLE) END")


def _date(day_and_month: str) -> Reading:
    """Read dates that end in their year, which may be short: up to 68 it is one of this century.

    With hyphens it is not short, as it could come first.
    """
    text, cases = "translate({}, './', '--')", ""
    for year, mark, digits in (("%Y", "[./-]", r"[12]\d\d\d"), ("%y", "[./]", r"\d\d")):
        date = rf"\d\d?{mark}\d\d?{mark}{digits}"
        formats = [literal(f"{day_and_month}-{year} {time}") for time in TIMES]
        cases += (
            f" WHEN regexp_full_match({{}}, '{date}')"
            f" THEN try_strptime({text}, '{day_and_month}-{year}')"
            f" WHEN regexp_full_match({{}}, '{date} .*')"
            f" THEN try_strptime({text}, [{', '.join(formats)}])"
        )
    return Reading("date", f"CAST(CASE{cases} END AS TIMESTAMPTZ)")


READINGS = {
    # DuckDB reads more as numbers, +-1 and 1_000
    "1234.5": Reading(
        "number",
        "CASE WHEN contains({}, '_') OR ({} < ',' AND contains({}, '+-')) THEN NULL"
        " ELSE TRY_CAST({} AS DOUBLE) END",
    ),
    "true": Reading("boolean", "CASE lower({}) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"),
    "2020-12-31": Reading(
        "date",
        f"CASE WHEN regexp_full_match({YEAR_FIRST}, '{MOMENT.pattern}')"
        f" AND TRY_CAST({YEAR_FIRST} AS TIMESTAMPTZ) {IN_YEARS.format(moment='TIMESTAMPTZ')}"
        f" THEN TRY_CAST({YEAR_FIRST} AS TIMESTAMPTZ) END",
    ),
    "1,234.5": _number(".", ","),
    "1.234,5": _number(",", "."),
    "1,234.5 %": _number(".", ",", "%"),
    "1.234,5 %": _number(",", ".", "%"),
    "31.12.2020": _date("%d-%m"),
    "12/31/2020": _date("%m-%d"),
}
PLAIN = {"number": "1234.5", "boolean": "true", "date": "2020-12-31"}  # where no other is named
