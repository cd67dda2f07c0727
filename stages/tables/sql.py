"""Names, texts and numbers as SQL writes them."""


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


def number(column: str, kind: str) -> str:
    """Cast a column to DOUBLE; what is no number becomes NULL.

    DuckDB reads the texts +-1 and 1_000 as numbers, too, which nobody else does.
    """
    cast = f"TRY_CAST({column} AS DOUBLE)"
    if kind != "VARCHAR":
        return cast
    return f"CASE WHEN NOT (contains({column}, '+-') OR contains({column}, '_')) THEN {cast} END"
