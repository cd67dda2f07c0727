"""Apache Spark, standalone with two workers: the bytes of the pipeline, also if a worker dies.

It needs Java, and Spark: the pip package pyspark, or a folder that SPARK_HOME names.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest

from stages.predictor import document
from stages.predictor.expression import select
from stages.project.files import PREDICTOR, SUMS
from stages.tables import datasets, spark
from tests.conftest import write_parameters

NEAR, FAR = "data/raw/t.pqt", "data/raw/t.sql"  # of one length, as scores.json has bytes
PATIENCE = 120  # seconds
MASTER = "org.apache.spark.deploy.master.Master --host 127.0.0.1 --port {port} --webui-port 0"
WORKER = (
    "org.apache.spark.deploy.worker.Worker --host 127.0.0.1 --cores 1 --memory 1g --webui-port 0"
    " -d {folder} spark://127.0.0.1:{port}"
)
CONNECT = (
    "--master spark://127.0.0.1:{port} --conf spark.connect.grpc.binding.port={connect}"
    " --conf spark.executor.memory=600m --driver-memory 700m --conf spark.ui.enabled=false"
    " --class org.apache.spark.sql.connect.service.SparkConnectServer spark-internal"
)

pytestmark = pytest.mark.slow


@dataclass
class Cluster:
    remote: str
    workers: list[subprocess.Popen[bytes]]
    folder: Path

    def tasks(self) -> int:
        """Return how many tasks executors have begun."""
        logs = self.folder.glob("work*/*/*/stderr")
        return sum(log.read_text(errors="replace").count("Running task") for log in logs)


def home() -> Path:
    found = find_spec("pyspark")
    if not found or not found.origin or not find_spec("grpc"):
        pytest.skip("Spark's client is not installed")
    folder = Path(os.environ.get("SPARK_HOME") or Path(found.origin).parent)
    if not shutil.which("java"):
        pytest.skip("Java is not installed")
    if not (folder / "bin/spark-class").exists():
        pytest.skip("Apache Spark is not installed: pip's pyspark has it, of 450 MB")
    return folder


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait(holds: Callable[[], bool], what: str) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE, what
        time.sleep(0.1)


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, which is ended in the end."""
    env = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=env, cwd=log.parent, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    bin_, folder = home() / "bin", tmp_path_factory.mktemp("spark")
    port, connect = free_port(), free_port()
    with ExitStack() as all_:

        def start(program: str, arguments: str, log: str) -> subprocess.Popen[bytes]:
            command = [str(bin_ / program), *arguments.split()]
            return all_.enter_context(running(command, folder / log))

        start("spark-class", MASTER.format(port=port), "master.log")
        wait(lambda: answers(port), "the master does not start")
        workers = [
            start("spark-class", WORKER.format(port=port, folder=folder / f"work{i}"), f"{i}.log")
            for i in range(2)
        ]
        start("spark-submit", CONNECT.format(port=port, connect=connect), "connect.log")
        wait(lambda: answers(connect), "the Connect server does not start")
        yield Cluster(f"sc://127.0.0.1:{connect}", workers, folder)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "stages").symlink_to(Path(datasets.__file__).parents[1])
    return tmp_path


def stage(name: str, cluster: Cluster, dataset: str = "") -> subprocess.Popen[bytes]:
    """Start a stage."""
    if dataset:
        write_parameters(dataset=dataset, target="y", key="id")
    command = [sys.executable, "-m", f"stages.{name}"]
    env = os.environ | {"SPARK_REMOTE": cluster.remote}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)


def made(dataset: str, cluster: Cluster) -> dict[Path, bytes]:
    for name in ("load", "train", "quantize", "evaluate"):
        assert stage(name, cluster, dataset).wait() == 0
    digest = document.digest(PREDICTOR).encode()  # of a file that has the name
    return {
        path: path.read_bytes().replace(dataset.encode(), b"NAME").replace(digest, b"DIGEST")
        for folder in ("models", "reports")
        for path in Path(folder).rglob("*.*")
    }


@pytest.mark.usefixtures("checkout")
@pytest.mark.usefixtures("california_here")
def test_spark_gives_the_same_bytes_also_if_a_worker_dies(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = datasets.california_housing()
    columns = {"y" if name == whole.target else name: x for name, x in whole.columns.items()}
    with duckdb.connect() as connection:
        connection.register("w", columns)
        query = "SELECT row_number() OVER () AS id, * FROM w"
        connection.execute(f"COPY ({query}) TO '{NEAR}' (FORMAT parquet)")
    Path(FAR).write_text(f"SELECT * FROM parquet.`{Path(NEAR).absolute()}`")
    far = made(FAR, cluster)
    before = SUMS.read_bytes()
    assert made(NEAR, cluster) == far
    monkeypatch.setenv("SPARK_REMOTE", cluster.remote)
    predictor = document.load(PREDICTOR)
    query = select(predictor, f"parquet.`{Path(NEAR).absolute()}`", "spark")
    predicted = spark.connect(FAR).rows(f"SELECT id, prediction FROM ({query})")
    query = select(predictor, f"read_parquet('{NEAR}')", "duckdb")
    assert (
        sorted(predicted)
        == duckdb.execute(f"SELECT id, prediction FROM ({query}) ORDER BY id").fetchall()
    )

    assert stage("load", cluster, FAR).wait() == 0
    SUMS.unlink()
    begun = cluster.tasks()
    train = stage("train", cluster)
    wait(lambda: cluster.tasks() > begun, "no query begins")
    assert train.poll() is None
    cluster.workers[0].kill()
    assert train.wait() == 0
    assert SUMS.read_bytes() == before
    assert cluster.workers[0].wait() == -signal.SIGKILL
    assert cluster.workers[1].poll() is None
