"""Spark as an engine: the Spark Connect server that SPARK_REMOTE names, through Apache's client."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.columns.sql import DIALECTS, Dialect
from stages.project import cli
from stages.project.cli import InputError
from stages.project.text import cut

SETTINGS = {"spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "true"}
RETRIES = 4  # of a call, some seconds; by default it is 10 minutes
MOST = 60  # aggregates of a query: more are too long a method for Java, and three times as slow
SHOWN = 240  # characters of a message of Spark


@dataclass(frozen=True)
class Spark:
    """A server as an engine."""

    name: str  # what messages call the data set
    session: Any
    dialect: Dialect = DIALECTS["spark"]
    most: int = MOST

    def rows(self, query: str) -> list[Any]:
        return [tuple(row.values()) for row in self.arrow(query).to_pylist()]

    def arrow(self, query: str) -> Any:
        """Return the result as a table of pyarrow."""
        with translate_errors(self.name):
            return self.session.sql(query).toArrow()

    def copy(self, query: str, n_columns: int, path: Path) -> None:
        """Write what `query` selects as Parquet."""
        from pyarrow import parquet

        parquet.write_table(self.arrow(query), path)

    def describe(self, query: str) -> tuple[list[str], list[str]]:
        """Return the names of the columns of a query, and their types."""
        with translate_errors(self.name):
            fields = self.session.sql(query).schema.fields
        types = [field.dataType.simpleString().upper() for field in fields]
        return [field.name for field in fields], types


def connect(dataset: str) -> Spark:
    """Return the server that SPARK_REMOTE names, for the file `dataset`."""
    remote = os.environ.get("SPARK_REMOTE")
    if not remote:
        advice = "set SPARK_REMOTE to its address, such as sc://localhost:15002"
        raise InputError(f"{dataset}: its rows are on a Spark Connect server: {advice}")
    with cli.requiring("spark"):
        import pyspark  # noqa: F401
    warnings.filterwarnings("ignore", module="pyspark")  # of a pandas that is new, and of retries
    name = f"{dataset} on {remote.partition(';')[0].rstrip('/')}"  # no token behind the semicolon
    with translate_errors(name):
        return Spark(name, _session(remote))


@lru_cache
def _session(remote: str) -> Any:
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    session = SparkSession.builder.remote(remote).create()
    session.release_session_on_close = False  # at exit: the server may be gone, and forgets it
    session.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES)])
    for key, value in SETTINGS.items():
        session.conf.set(key, value)
    return session


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Make what Spark cannot do a user's mistake, in one line."""
    from grpc import RpcError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, RpcError) as error:
        details = re.search(r'details = "(.*)"', str(error))  # of gRPC
        message = details[1] if details else str(error).strip().partition("\n")[0]
        raise InputError(f"{name}: {cut(message, SHOWN)}") from error
