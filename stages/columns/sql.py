"""Names, texts, numbers and dates as SQL writes them."""

from dataclasses import dataclass
from importlib.util import find_spec

from stages.project.cli import InputError
from stages.project.text import shown


def identifier(name: str) -> str:
    """Quote a name as standard SQL does."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("'", "''") + "'"


def double(value: float) -> str:
    """Write a float so that it comes back bit by bit, and as a double.

    Without an exponent many engines read `0.5` as a decimal, and calculate in decimals.
    """
    digits = repr(int(value) if value.is_integer() and abs(value) < 2**53 else float(value))
    return digits if "e" in digits else digits + "e0"


@dataclass(frozen=True)
class Dialect:
    """What engines write in ways of their own.

    Most need no cast to make a number a double, as 115e0 is one to them, and so is a decimal by a
    double. Postgres, Redshift and Snowflake read 115e0 as a decimal.
    """

    name: str  # that of sqlglot, which knows how to quote names and texts
    microseconds: str  # a date or time in whole ones since 1970 in UTC; SQLite has milliseconds
    cast: str = ""

    def identifier(self, name: str) -> str:
        if self.name == "duckdb":  # which is standard SQL, and the image has no sqlglot
            return identifier(name)
        from sqlglot import exp

        return exp.to_identifier(name, quoted=True).sql(dialect=self.name)

    def text(self, value: str) -> str:
        if self.name == "duckdb":
            return literal(value)
        from sqlglot import exp

        written = exp.Literal.string(value).sql(dialect=self.name)
        return "N" + written if self.name == "tsql" else written  # else it is not Unicode

    def days(self, x: str) -> str:
        """Return days since 1970: one division, so that all engines have the same double."""
        return f"({self.microseconds.format(x)} / 864e8{self.cast})"

    def truth(self, x: str) -> tuple[str, str]:
        """Return what tests that a boolean is true, and that it is false."""
        return (f"{x} = 1", f"{x} = 0") if self.name == "tsql" else (x, f"NOT {x}")


DIALECTS = {
    name: Dialect(name, microseconds, "::float8" if "::float8" in microseconds else "")
    for name, microseconds in {
        "bigquery": "UNIX_MICROS(TIMESTAMP({}))",
        "clickhouse": "toUnixTimestamp64Micro(toDateTime64({}, 6, 'UTC'))",
        "databricks": "unix_micros(CAST({} AS TIMESTAMP))",
        "duckdb": "epoch_us({})",
        "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {})",
        "postgres": "(extract(epoch FROM {}) * 1000000)::float8",
        "redshift": "DATEDIFF(microsecond, '1970-01-01', {})::float8",
        "snowflake": "DATEDIFF(microsecond, '1970-01-01'::timestamp_ntz, {})::float8",
        "spark": "unix_micros(CAST({} AS TIMESTAMP))",
        "sqlite": "round((julianday({}) - 2440587.5) * 86400000) * 1000",
        "trino": "round(to_unixtime(CAST({} AS timestamp(6) with time zone)) * 1000000)",
        "tsql": "DATEDIFF_BIG(microsecond, '1970-01-01', {})",
    }.items()
}
DUCKDB = DIALECTS["duckdb"]


def dialect(name: str) -> Dialect:
    """Return the dialect of this name; all but DuckDB's need sqlglot."""
    if name not in DIALECTS:
        raise InputError(
            f"--dialect must be one of {', '.join(sorted(DIALECTS))}, got {shown(name)}"
        )
    if name != "duckdb" and not find_spec("sqlglot"):
        raise InputError("--dialect needs sqlglot: `pip install sqlglot` installs it")
    return DIALECTS[name]
