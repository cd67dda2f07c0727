"""Names, texts, numbers and dates as SQL writes them."""

from dataclasses import dataclass

from stages.project.cli import InputError, requiring
from stages.project.text import show


def identifier(name: str) -> str:
    """Quote a name as standard SQL does."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("'", "''") + "'"


def literals(*texts: str) -> str:
    """Return a list of strings, as IN has it."""
    return f"({', '.join(map(literal, texts))})"


def double(value: float) -> str:
    """Write a float so that it comes back bit by bit, and as a double.

    Without an exponent many engines read `0.5` as a decimal, and calculate in decimals.
    """
    digits = repr(int(value) if value.is_integer() and abs(value) < 2**53 else float(value))
    return digits if "e" in digits else digits + "e0"


@dataclass(frozen=True)
class Dialect:
    """What engines write in ways of their own; the name is that of sqlglot, which quotes for it."""

    name: str
    microseconds: str  # a date or time in whole ones since 1970 in UTC; SQLite has milliseconds
    cast: str = ""  # makes a number a double, where 115e0 is a decimal
    moment: str = "TIMESTAMPTZ"  # the type of a date or time

    def identifier(self, name: str) -> str:
        if self.name == "duckdb":  # which is standard SQL, and the image has no sqlglot
            return identifier(name)
        from sqlglot import exp

        return exp.to_identifier(name, quoted=True).sql(dialect=self.name)

    def column(self, name: str) -> str:
        """Return a column of the table t."""
        return f"t.{self.identifier(name)}"

    def text(self, value: str) -> str:
        if self.name == "duckdb":
            return literal(value)
        from sqlglot import exp

        return exp.Literal.string(value).sql(dialect=self.name)

    def days(self, x: str) -> str:
        """Return days since 1970: one division, so that all engines have the same double."""
        return f"({self.microseconds.format(x)} / 864e8{self.cast})"


EPOCH = "'1970-01-01'::timestamp_ntz"  # of Snowflake
KNOWN = (
    Dialect("bigquery", "UNIX_MICROS(TIMESTAMP({}))"),
    Dialect("clickhouse", "toUnixTimestamp64Micro(toDateTime64({}, 6, 'UTC'))"),
    Dialect("duckdb", "epoch_us({})"),
    Dialect("postgres", "(extract(epoch FROM {}) * 1000000)::float8", "::float8"),
    Dialect("snowflake", f"DATEDIFF(microsecond, {EPOCH}, {{}})::float8", "::float8"),
    Dialect("spark", "unix_micros(CAST({} AS TIMESTAMP))", moment="TIMESTAMP"),
    Dialect("sqlite", "round((julianday({}) - 2440587.5) * 86400000) * 1000"),
)
DIALECTS = {each.name: each for each in KNOWN}
DUCKDB = DIALECTS["duckdb"]


def dialect(name: str) -> Dialect:
    """Return the dialect of this name; all but DuckDB's need sqlglot."""
    if name not in DIALECTS:
        raise InputError(f"--dialect must be one of {', '.join(DIALECTS)}, got {show(name)}")
    if name != "duckdb":
        with requiring("sql"):
            import sqlglot  # noqa: F401
    return DIALECTS[name]
