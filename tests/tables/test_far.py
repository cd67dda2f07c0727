"""Tables that stay on a Spark server: the bytes of the pipeline, its integers, and bad input.

The server is Sail, in this process. One test has Apache Spark: it needs Java, and the pip package
pyspark, or a folder that SPARK_HOME names.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from msgspec.structs import replace
from pyarrow import parquet

from stages import load, start, train
from stages.columns import engine
from stages.columns.engine import DuckDB
from stages.predictor import document
from stages.predictor.expression import select
from stages.project import params
from stages.project.cli import InputError
from stages.project.files import PREDICTOR, TEST, TRAIN
from stages.regression import sums
from stages.regression.linear import LinearModel
from stages.regression.scores import tally
from stages.regression.sums import Sums
from stages.tables import gather, spark, table
from stages.tables.datasets import diabetes
from stages.tables.table import Table
from tests.cars import cars
from tests.cars import write as write_cars
from tests.conftest import Rows, run_stages, write_parameters

NEAR, FAR = "data/raw/t.pqt", "data/raw/t.sql"  # of one length, as scores.json has bytes
PATIENCE = 120  # seconds
CONNECT = (
    "--master local[2] --driver-memory 700m --conf spark.ui.enabled=false"
    " --conf spark.connect.grpc.binding.port={port}"
    " --class org.apache.spark.sql.connect.service.SparkConnectServer spark-internal"
)


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, sail: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARK_REMOTE", sail)
    gather.FOLDER.mkdir(parents=True)
    return tmp_path


def write(query: str) -> None:
    """Write a table as Parquet, and the SELECT of it."""
    duckdb.execute(f"COPY ({query}) TO '{NEAR}' (FORMAT parquet)")
    Path(FAR).write_text(f"SELECT * -- all\nFROM parquet.`{Path(NEAR).absolute()}`;\n")


def houses(n: int, id_: str = "'h' || i", x: str = "i % 7 + 0.5") -> str:
    return f"SELECT {id_} AS id, {x} AS x, i % 5 AS z, i * i % 11 AS y FROM range({n}) AS t(i)"


def run(dataset: str, *stages: Any, **parameters: Any) -> None:
    run_stages(*stages, **{"dataset": dataset, "target": "y", "key": "id"} | parameters)


def made(dataset: str, **changed: Any) -> dict[Path, bytes]:
    """Run the pipeline, and return its files without the name of the data set."""
    run(dataset, **changed)
    digest = document.digest(PREDICTOR).encode()  # of a file that has the name
    return {
        path: path.read_bytes().replace(dataset.encode(), b"NAME").replace(digest, b"DIGEST")
        for folder in ("models", "reports")
        for path in Path(folder).rglob("*.*")
    }


# bytes


@pytest.mark.slow
@pytest.mark.parametrize("order", [None, "z"])
def test_near_and_far_give_the_same_bytes(order: str | None) -> None:
    write(houses(400))
    near, far = made(NEAR, order=order), made(FAR, order=order)
    assert near == far
    assert len(near) > 8


@pytest.mark.slow
def test_start_looks_at_a_table_on_a_server() -> None:
    write(houses(60))
    write_parameters(dataset=FAR, target="y", key="id")
    start.start(FAR, "y", key="id")
    found = params.read().load
    assert (found.dataset, found.features, found.key) == (FAR, ["x", "z"], "id")
    load.main()


@pytest.mark.slow
def test_a_version_of_a_delta_table_can_be_pinned() -> None:
    deltalake = pytest.importorskip("deltalake")
    for rows in (60, 100):
        write(houses(rows))
        deltalake.write_deltalake("delta", parquet.read_table(NEAR), mode="overwrite")
    query = f"SELECT * FROM delta.`{Path('delta').absolute()}`"
    for version, n_rows in (("VERSION AS OF 0", 60), ("", 100)):
        Path(FAR).write_text(f"{query} {version}")
        run(FAR, load)
        assert sum(table.read(part).n_rows for part in (TRAIN, TEST)) == n_rows


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_texts_dates_and_gaps_give_the_same_bytes(missing: str) -> None:
    write_cars(cars(3000), "parquet", Path(NEAR))
    Path(FAR).write_text(f"SELECT * FROM parquet.`{Path(NEAR).absolute()}`")
    wanted = {"target": "price", "key": "vin", "missing": missing}
    assert made(NEAR, **wanted) == made(FAR, **wanted)


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_products_and_ratios_give_the_same_bytes(missing: str) -> None:
    write_cars(cars(3000), "parquet", Path(NEAR))
    Path(FAR).write_text(f"SELECT * FROM parquet.`{Path(NEAR).absolute()}`")
    derived = ["mileage / automatic", "mileage * fuel = petrol", "seen * mileage / registered"]
    wanted = {"target": "price", "key": "vin", "missing": missing, "derived": derived}
    near, far = (made(name, **wanted, features=["brand", "mileage"]) for name in (NEAR, FAR))
    assert near == far
    assert b"seen * mileage / registered" in near[PREDICTOR]


@pytest.fixture
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Connect server."""
    installed = Path(pytest.importorskip("pyspark").__file__).parent
    program = Path(os.environ.get("SPARK_HOME") or installed, "bin/spark-submit")
    if not shutil.which("java") or not program.exists():
        pytest.skip("Java or Apache Spark is not installed: pip's pyspark has it, of 450 MB")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    folder = tmp_path_factory.mktemp("spark")
    command = [str(program), *CONNECT.format(port=port).split()]
    env = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=folder)
    try:
        for _ in range(PATIENCE):
            time.sleep(1)
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_apache_spark_gives_the_same_bytes_and_predictions(
    apache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_REMOTE", apache)
    whole = diabetes.load()
    duckdb.register("w", dict(whole))
    columns = f'* EXCLUDE ("range") RENAME ({[*whole][-1]} AS y)'
    write(f"SELECT row_number() OVER () AS id, {columns} FROM w, range(40)")
    assert made(NEAR) == made(FAR)
    model = document.load(PREDICTOR)
    there = select(model, f"parquet.`{Path(NEAR).absolute()}`", "spark")
    predicted = spark.connect(FAR).rows(f"SELECT id, prediction FROM ({there})")
    here = select(model, f"read_parquet('{NEAR}')", "duckdb")
    expected = duckdb.execute(f"SELECT id, prediction FROM ({here}) ORDER BY id").fetchall()
    assert sorted(predicted) == expected


# integers


def odd_table(rows: np.ndarray) -> Table:
    """Make a table whose rows are asked for by SQL."""
    here = Rows(rows[:, :-1], rows[:, -1]).write(Path())
    there = f"SELECT * FROM parquet.`{Path('rows.parquet').absolute()}`"
    return replace(here, schema=replace(here.schema, dataset=FAR), select=there)


@pytest.fixture(params=["duckdb", pytest.param("sail", marks=pytest.mark.slow)])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let one engine or the other run the SQL."""
    if request.param == "sail":
        yield
        return
    with engine.connect("toy") as here:

        def rows(self: DuckDB, query: str) -> list[Any]:
            found = query.replace("parquet.`", "read_parquet('").replace("`", "')")
            return [*self.connection.execute(found).fetchall()]

        monkeypatch.setattr(DuckDB, "rows", rows)
        monkeypatch.setattr(spark, "connect", lambda name: here)
        yield


def values(n: int) -> np.ndarray:
    """Make columns of all sizes, of ties, and of what lies next to ties and powers of two."""
    rng = np.random.default_rng(0)
    ties = (rng.integers(-(2**20), 2**20, n) + 0.5) * 2.0**-30
    ties[0] = 2.0**22
    near = np.nextafter(ties, rng.choice([-np.inf, np.inf], n))
    large = rng.choice([2.0**52 + 1, 2.0**53 - 1, -(2.0**52) - 3, 0.49999999999999994, -0.5], n)
    sizes = rng.normal(size=n) * 10.0 ** rng.integers(-100, 99, n)
    small = rng.normal(size=n) * 1e-100
    return np.column_stack([ties, near, large, sizes, small, rng.normal(size=n)])


@pytest.mark.slow
@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("full", [2**29, 0])  # so that digits have 18 or 14 bits
def test_sums_are_the_integers_of_the_blocks(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = values(3000)
    monkeypatch.setattr(sums, "FULL", full)
    [found] = Sums.of_table(odd_table(rows))
    expected = Sums.of([rows], rows.min(axis=0), rows.max(axis=0))
    assert (found.exponents == expected.exponents).all()
    assert (found.products == expected.products).all()


@pytest.mark.usefixtures("asked")
def test_scores_are_those_of_the_rows_here() -> None:
    rng = np.random.default_rng(1)
    rows = values(2000)[:, [0, 1, 5, 2]]
    models = (
        LinearModel(rng.normal(size=3), float(rng.normal())),
        LinearModel(np.array([1e-9, -(2.0**40), 3.0]), 0.0),
    )
    assert tally(models, odd_table(rows)) == Rows(rows[:, :-1], rows[:, -1]).tally(*models)


@pytest.mark.usefixtures("asked")
def test_a_row_outside_of_the_range_is_not_lost_but_refused() -> None:
    rows = values(100)[:, :2]
    found = odd_table(rows)
    found.high[:] = found.low[:] = [0.001] * 2
    with pytest.raises(InputError, match="changed: it had 100 and then"):
        Sums.of_table(found)


# bad input


@pytest.mark.parametrize(
    ("query", "wanted", "message"),
    [
        (houses(9), {"key": None}, "load.key must name its rows"),
        (houses(9), {"target": "cost"}, "column cost missing; found id, x, z, y"),
        (houses(9), {"key": "x"}, "x is 0.5, must be text or whole numbers"),
        (houses(9), {"target": "id", "key": "z"}, "id cannot be load.target: its type is STRING"),
        (houses(9, x="[i]"), {"features": ["x"]}, r"load\.features: x: its type is ARRAY"),
        (houses(0), {}, "has no rows"),
        (houses(99, x="i / greatest(0, 97 - i)"), {}, r"id 'h97': x is inf, must .* \(2 bad"),
        (houses(99, "CASE WHEN i < 97 THEN i END"), {}, r"id is empty.* \(2 bad values"),
        (houses(99, "i % 90"), {}, r"must be unique, 2 rows have id '0' \(9 such"),
        (houses(99, x="CASE WHEN i > 9 THEN i END"), {}, "10 of 99 rows have a gap, x in 10"),
        (houses(6), {}, "leaves . rows for training"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused(query: str, wanted: dict[str, Any], message: str) -> None:
    write(query)
    check_refused(FAR, message, load, **wanted)


def check_refused(name: str, message: str, stage: Any, **wanted: Any) -> None:
    with pytest.raises(InputError, match=message) as raised:
        run(FAR, stage, **wanted)
    assert "\n" not in str(raised.value)
    assert name in str(raised.value) or "load." in str(raised.value) or "pip" in str(raised.value)


@pytest.mark.parametrize(
    "text", ["SELCT 1", "", "SELECT nothing FROM parquet.`t.pqt`", "DROP TABLE houses"]
)
def test_bad_sql_is_refused(text: str) -> None:
    Path(FAR).write_text(text)
    check_refused(FAR, "on sc://127", load)
    Path("data/raw/u.sql").write_text("SELECT 1")
    with pytest.raises(InputError, match=r"data/raw/\*\.sql must be one SELECT, matches 2"):
        run("data/raw/*.sql", load)


def test_without_a_server_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    write(houses(60))
    run(FAR, load)
    monkeypatch.delenv("SPARK_REMOTE")
    check_refused(FAR, "set SPARK_REMOTE to its address", train)
    monkeypatch.setenv("SPARK_REMOTE", "localhost:1")
    check_refused(FAR, "on localhost:1: ", load)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    monkeypatch.setattr(spark, "RETRIES", 0)
    monkeypatch.setenv("SPARK_REMOTE", f"sc://127.0.0.1:{port}/;token=secret")
    with pytest.raises(InputError, match=f"on sc://127.0.0.1:{port}: ") as raised:
        run(FAR, load)
    assert "secret" not in str(raised.value)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    check_refused(FAR, r"pyspark is missing: `pip install -r requirements/spark", load)


@pytest.mark.slow
def test_a_select_that_changes_is_refused_and_the_outputs_stay() -> None:
    write(houses(400))
    run(FAR, load, train)
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    write(houses(500))
    check_refused(FAR, "on sc://127.* changed: it had [0-9]+ and then", train)
    before |= {Path(NEAR): Path(NEAR).read_bytes()}
    assert {path: path.read_bytes() for path in before} == before
