"""Builds the image of a fresh clone and runs it with Docker: `pytest -m container`.

The tables come from data/test/sample.parquet, which `dvc repro` makes.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb
import pytest

from stages.columns.sql import identifier
from stages.predictor import document
from stages.predictor.expression import expression
from stages.project.files import PAGE, PREDICTIONS, PREDICTOR, SAMPLE_COLUMNS
from tests.conftest import csv_of

pytestmark = pytest.mark.container

REPOSITORY = Path(__file__).parent.parent
BASE = "python:3.13-slim-trixie"
IMAGE = "predictor:test"
LOCKED = [
    *("--read-only", "--network", "none", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--user", "12345:12345"),
    *("--memory", "512m", "--memory-swap", "512m", "--cpus", "1"),
]
SHARED_MEMORY = 64 << 20  # bytes, in which a container without a disk stores a pipe
VERSION = "import duckdb; print(duckdb.__version__)"
ARGUMENTS = {"SOURCE": "somewhere", "REVISION": "0123abc", "VERSION": "1.2.3"}

with PREDICTIONS.open(encoding="utf-8", newline="") as samples:
    NAMES, VALUES = (row[: -len(SAMPLE_COLUMNS)] for row in islice(csv.reader(samples), 2))
MANY = min(20_000_000, 160_000_000 // len(NAMES))  # rows, fewer where they are wide


def docker(*args: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *args], input=data or b"", capture_output=True)


def build(tag: str, context: Path = REPOSITORY) -> subprocess.CompletedProcess[bytes]:
    given = [
        word for name, value in ARGUMENTS.items() for word in ("--build-arg", f"{name}={value}")
    ]
    return docker("build", "--network", "host", "--no-cache", *given, "-t", tag, str(context))


@pytest.fixture(scope="module")
def image() -> str:
    built = build(IMAGE)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return IMAGE


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Make a folder that any user can write to."""
    tmp_path.chmod(0o777)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def run(
    image: str, *command: str, folder: Path | None = None, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the image locked down."""
    volume = ["-v", f"{folder}:/data"] if folder else []
    stdin = ["-i"] if data is not None else []
    return docker("run", "--rm", *stdin, *LOCKED, *volume, image, *command, data=data)


def outside(*args: str) -> bytes:
    """Run predict on this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "stages.predict", *args],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return done.stdout


def repeated(n_rows: int) -> str:
    """Select so many rows: the test rows again and again, and what no format packs."""
    return (
        f"SELECT *, random() AS \"noise of this test\" FROM 'data/test/sample.parquet',"
        f' range({n_rows}) AS numbers("number in this test") LIMIT {n_rows}'
    )


def test_the_image_tests_itself(image: str) -> None:
    for command in ([], ["predict"]):
        for options in ([], LOCKED):
            done = docker("run", "--rm", *options, image, *command)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(b"Sample predictions: [")
            assert done.stdout == outside()
        for option in ("--help", "--card", "--sql=houses", "--c"):
            assert run(image, *command, option).stdout == outside(option)


def test_predictions_are_those_made_outside(image: str, folder: Path) -> None:
    table = folder / "houses.csv"
    duckdb.execute("COPY (FROM 'data/test/sample.parquet') TO ?", [str(table)])
    duckdb.execute("COPY (FROM 'data/test/sample.parquet') TO ?", [str(folder / "houses.parquet")])
    expected = outside(str(table))
    assert run(image, "predict", "houses.csv", folder=folder).stdout == expected
    assert run(image, "houses.csv", folder=folder).stdout == expected
    assert run(image, "predict", data=table.read_bytes()).stdout == expected
    done = run(
        image, "predict", "/data/houses.parquet", "--output", "/data/out.parquet", folder=folder
    )
    assert done.returncode == 0, done.stderr
    rows = duckdb.execute("SELECT prediction FROM read_parquet(?)", [str(folder / "out.parquet")])
    there = [line.rsplit(b",", 1)[1] for line in expected.splitlines()[1:]]
    assert [row[0] for row in rows.fetchall()] == [float(value) for value in there]
    assert (folder / "out.parquet").stat().st_uid == 12345
    parquet = (folder / "houses.parquet").read_bytes()
    assert run(image, "predict", "--only", data=parquet).stdout.split()[1:] == there


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (csv_of(NAMES), "no rows"),
        ("no such,name\n1,2\n", "missing; found no such, name"),
        (
            csv_of(NAMES, VALUES, [*VALUES[:-1], "x"]),
            f"row 2 below the header: {NAMES[-1]} is 'x'",
        ),
        (csv_of(NAMES, [*VALUES, "1"]), "Line: 2"),
        ("\0\1\2", "not a table"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    image: str, folder: Path, text: str, message: str
) -> None:
    (folder / "houses.csv").write_text(text)
    for done in (
        run(image, "predict", "houses.csv", "--output", "out.csv", folder=folder),
        run(image, "predict", data=text.encode()),
    ):
        assert done.returncode == 2
        assert done.stdout == b""
        assert done.stderr.count(b"\n") == 1
        assert message in done.stderr.decode()
    assert [path.name for path in folder.iterdir()] == ["houses.csv"]


def test_a_folder_that_is_not_writable(image: str, folder: Path) -> None:
    (folder / "houses.csv").write_text(csv_of(NAMES, VALUES))
    done = run(image, "predict", "/data/houses.csv", "--output", "/tmp/out.csv", folder=folder)  # noqa: S108
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"its folder is not writable" in done.stderr
    folder.chmod(0o755)
    done = run(image, "predict", "houses.csv", "--output", "out.csv", folder=folder)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"its folder is not writable" in done.stderr
    assert b"--user" in done.stderr


def test_a_long_pipe_needs_a_folder(image: str, folder: Path) -> None:
    row = csv_of(VALUES)
    rows = SHARED_MEMORY // len(row) + 1
    table = (csv_of(NAMES) + rows * row).encode()
    command = ("predict", "--only", "--output", "out.parquet")
    done = run(image, *command, data=table)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"give it as a FILE" in done.stderr
    done = run(image, *command, folder=folder, data=table)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["out.parquet"]
    counted = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(folder / "out.parquet")])
    assert counted.fetchall() == [(rows,)]


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_full_disk_leaves_nothing(image: str, folder: Path, form: str) -> None:
    table = str(folder / "houses.csv")
    duckdb.execute(f"COPY ({repeated(80_000)}) TO ?", [table])
    command = f"predict /data/houses.csv --output /small/out.{form}; echo $?; ls -a /small"
    size = "64k" if form == "parquet" else "1m"
    done = docker(
        *("run", "--rm", *LOCKED, "-v", f"{folder}:/data"),
        *("--tmpfs", f"/small:size={size},mode=1777", "--entrypoint", "sh", image, "-c", command),
    )
    assert done.stdout.split() == [b"2", b".", b".."], done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


def test_stopping_it_leaves_nothing(image: str, folder: Path) -> None:
    duckdb.execute(f"COPY ({repeated(MANY // 5)}) TO ?", [str(folder / "houses.parquet")])
    name = f"predictor-stopped-{os.getpid()}"
    command = ("predict", "houses.parquet", "--output", "out.csv")
    started = docker("run", "-d", "--name", name, *LOCKED, "-v", f"{folder}:/data", IMAGE, *command)
    assert started.returncode == 0, started.stderr
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob(".*.part")):
            assert not (folder / "out.csv").exists()
            assert time.monotonic() < deadline, docker("logs", name).stderr
            time.sleep(0.01)
        docker("stop", "-t", "5", name)
        [state] = json.loads(docker("inspect", name).stdout)
        assert state["State"]["ExitCode"] == 143
        assert [path.name for path in folder.iterdir()] == ["houses.parquet"]
    finally:
        docker("rm", "-f", name)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_many_rows_in_512_mb(image: str, folder: Path, form: str) -> None:
    names = ", ".join(map(identifier, NAMES))
    duckdb.execute(
        f"COPY (SELECT {names} FROM ({repeated(MANY)})) TO ?",
        [str(folder / f"houses.{form}")],
    )
    command = ("predict", f"houses.{form}", "--only", "--output", f"out.{form}")
    done = run(image, *command, folder=folder)
    assert done.returncode == 0, done.stderr
    model = document.load(REPOSITORY / PREDICTOR)
    inputs = [each.sql(identifier(each.column)) for each in model.schema.inputs]
    predicted = expression(model, inputs)
    rows = "FROM read_csv(?)" if form == "csv" else "FROM read_parquet(?)"
    # in order too, as each is hashed with its row's number
    hashed = "count(*), bit_xor(hash({}, n)) FROM (SELECT *, row_number() OVER () AS n {})"
    files = (predicted, folder / f"houses.{form}"), ("prediction", folder / f"out.{form}")
    there, here = (
        duckdb.execute("SELECT " + hashed.format(what, rows), [str(path)]).fetchall()
        for what, path in files
    )
    assert there == here
    assert here[0][0] == MANY


def contents(image: str) -> dict[str, tuple[object, ...]]:
    """Return all that the files of an image have but their times."""
    name = docker("create", image).stdout.decode().strip()
    try:
        archive = docker("export", name).stdout
    finally:
        docker("rm", name)
    files: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            content = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
            files[member.name] = (member.type, member.mode, member.uid, member.gid, content)
    return files


def test_what_is_in_the_image_and_a_fresh_clone_builds_the_same(image: str, folder: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True)
    for name in tracked.stdout.decode().split("\0")[:-1]:
        if (source := REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    first = contents(image)
    again = "predictor:again"
    assert build(again, folder).returncode == 0
    try:
        assert contents(again) == first
    finally:
        docker("rmi", again)
    added = first.keys() - contents(BASE).keys()
    assert {name.split("/")[0] for name in added} == {"opt", "data"}
    tops = {name.split("/")[2] for name in added if name.startswith("opt/project/")}
    packages = {"duckdb", "_duckdb-stubs", "adbc_driver_duckdb", "pycache"}
    packages |= {"click", "httptools", "prometheus_client", "uvicorn"}
    rest = {top for top in tops if not top.startswith("_duckdb.") and ".dist-info" not in top}
    assert rest == packages | {"LICENSE", "bin", "models", "reports", "stages"}
    assert not [name for name in added if "pip" in name.lower().split("/")]


def test_the_image_is_small_and_labelled(image: str) -> None:
    [inspected] = json.loads(docker("inspect", image).stdout)
    # BuildKit does not keep the base where `docker inspect` sees it, this does
    docker("rm", docker("create", BASE).stdout.decode().strip())
    [base] = json.loads(docker("inspect", BASE).stdout)
    assert inspected["Size"] - base["Size"] <= 100e6
    assert inspected["Config"]["User"] not in ("", "0", "root", "0:0")
    labels = inspected["Config"]["Labels"]
    for name, value in ARGUMENTS.items():
        assert labels[f"org.opencontainers.image.{name.lower()}"] == value
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    wanted = next(
        line for line in (REPOSITORY / "requirements.txt").open() if line.startswith("duckdb==")
    )
    done = docker("run", "--rm", "--entrypoint", "python", image, "-c", VERSION)
    assert wanted.split()[0] == f"duckdb=={done.stdout.decode().strip()}"


@pytest.fixture
def server(image: str) -> Iterator[str]:
    """Start a server, locked down but for its port, in the memory of a small machine."""
    locks = [*LOCKED[: LOCKED.index("--memory")], "--cpus", "1"]
    locks = [lock for lock in locks if lock not in ("--network", "none")]
    small = ("--memory", "64m", "--memory-swap", "64m", "-p", "127.0.0.1::8080")
    done = docker("run", "-d", *locks, *small, image, "serve")
    assert done.returncode == 0, done.stderr
    name = done.stdout.decode().strip()
    yield name
    docker("rm", "-f", name)


def state(name: str) -> Any:
    return json.loads(docker("inspect", name).stdout)[0]["State"]


def test_the_image_serves_in_64_mb_is_healthy_and_ends_cleanly(server: str, folder: Path) -> None:
    kinds = document.load(REPOSITORY / PREDICTOR).schema.kinds
    columns, table = ", ".join(map(identifier, kinds)), folder / "rows.jsonl"
    rows = f"SELECT {columns} FROM 'data/test/sample.parquet'"
    duckdb.execute(f"COPY ({rows}) TO ? (FORMAT json)", [str(table)])
    expected = [*map(float, outside(str(table), "--only").split()[1:])]
    while state(server)["Health"]["Status"] == "starting":
        time.sleep(0.2)
    assert state(server)["Health"]["Status"] == "healthy"
    address = docker("port", server, "8080").stdout.decode().split()[0]
    lines, found, step = table.read_bytes().splitlines(), [], max(1, 400 // len(kinds))
    for start in range(0, len(lines), step):
        body = b"[" + b",".join(lines[start : start + step]) + b"]"
        with urlopen(f"http://{address}/predict", body) as answer:
            found += [each["prediction"] for each in json.load(answer)]
    assert found == expected
    with urlopen(f"http://{address}/") as page:
        assert page.read() == (REPOSITORY / PAGE).read_bytes()
    docker("stop", server)
    assert (state(server)["ExitCode"], state(server)["OOMKilled"]) == (0, False)
    assert docker("logs", server).stderr == b"serve: http://0.0.0.0:8080\n"
