"""Builds the image of a fresh clone and runs it with Docker: `pytest -m container`.

The tables come from data/test/sample.parquet, which `dvc repro` makes.
"""

import csv
import filecmp
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb
import pytest

from stages import load, quantize, train
from stages.columns.sql import identifier
from stages.project.files import PAGE, PREDICTIONS, PREDICTOR, SAMPLE_COLUMNS
from tests.cars import PARAMETERS, RAW, cars, write
from tests.conftest import csv_of, make_checkout

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("image")]
Done = subprocess.CompletedProcess[bytes]

REPOSITORY = Path(__file__).parent.parent
BASE = "python:3.13-slim-trixie"
IMAGE = "predictor:test"
LOCKED = [
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--user", "12345:12345", "--cpus", "1"),
]
ALONE = [*LOCKED, "--network", "none", "--memory", "512m", "--memory-swap", "512m"]
SMALL = [*LOCKED, "-p", "127.0.0.1::8080", "--memory", "64m", "--memory-swap", "64m"]
ARGUMENTS = {"SOURCE": "somewhere", "REVISION": "0123abc", "VERSION": "1.2.3"}

with PREDICTIONS.open(encoding="utf-8", newline="") as samples:
    NAMES, VALUES = (row[: -len(SAMPLE_COLUMNS)] for row in islice(csv.reader(samples), 2))
COLUMNS = ", ".join(map(identifier, NAMES))
MANY = min(20_000_000, 160_000_000 // len(NAMES))  # rows, fewer where they are wide


def docker(*args: str, data: bytes | None = None) -> Done:
    return subprocess.run(["docker", *args], input=data or b"", capture_output=True)


def build(tag: str, context: Path = REPOSITORY) -> Done:
    given = [f"--build-arg={name}={value}" for name, value in ARGUMENTS.items()]
    return docker("build", "--network", "host", "--no-cache", *given, "-t", tag, str(context))


@pytest.fixture(scope="module")
def image() -> None:
    built = build(IMAGE)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Make a folder that any user can write to."""
    tmp_path.chmod(0o777)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def run(*command: str, folder: Path | None = None, data: bytes | None = None) -> Done:
    """Run the image locked down."""
    volume = ["-v", f"{folder}:/data"] if folder else []
    stdin = ["-i"] if data is not None else []
    return docker("run", "--rm", *stdin, *ALONE, *volume, IMAGE, *command, data=data)


@contextmanager
def background(*args: str) -> Iterator[str]:
    """Run a container while the block runs, and give its name."""
    started = docker("run", "-d", *args)
    assert started.returncode == 0, started.stderr
    name = started.stdout.decode().strip()
    try:
        yield name
    finally:
        docker("rm", "-f", name)


def state(name: str) -> Any:
    return json.loads(docker("inspect", name).stdout)[0]["State"]


def outside(*args: str) -> bytes:
    """Run predict on this machine."""
    command = [sys.executable, "-m", "stages.predict", *args]
    return subprocess.check_output(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL)


def fails(done: Done, *words: str) -> None:
    """Check that a command has ended with one line, which has these words."""
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert all(word in done.stderr.decode() for word in words)


def repeat(n_rows: int, table: Path) -> None:
    """Write so many rows: the test rows again and again."""
    rows = f"SELECT {COLUMNS} FROM 'data/test/sample.parquet', range({n_rows}) AS n(of_this_test)"
    duckdb.execute(f"COPY ({rows} LIMIT {n_rows}) TO ?", [str(table)])


def test_the_image_tests_itself() -> None:
    for command in ([], ["predict"]):
        for options in ([], ALONE):
            done = docker("run", "--rm", *options, IMAGE, *command)
            assert done.returncode == 0, done.stderr
            assert done.stdout == outside()
    for option in ("--help", "--card", "--sql=houses", "--c"):
        assert run("predict", option).stdout == outside(option)


def test_predictions_are_those_made_outside(folder: Path) -> None:
    for form in ("csv", "parquet"):
        path = str(folder / f"houses.{form}")
        duckdb.execute("COPY (FROM 'data/test/sample.parquet') TO ?", [path])
    expected = outside(str(folder / "houses.csv"))
    assert run("predict", "houses.csv", folder=folder).stdout == expected
    done = run("predict", "houses.parquet", "--output", "/data/out.parquet", folder=folder)
    assert done.returncode == 0, done.stderr
    rows = duckdb.execute(f"SELECT prediction FROM '{folder}/out.parquet'").fetchall()
    there = [line.rsplit(b",", 1)[1] for line in expected.splitlines()[1:]]
    assert [row[0] for row in rows] == [float(value) for value in there]
    assert (folder / "out.parquet").stat().st_uid == 12345
    for form in ("csv", "parquet"):
        data = (folder / f"houses.{form}").read_bytes()
        assert run("predict", "--only", data=data).stdout.split()[1:] == there


def test_a_mistake_is_one_line_and_leaves_nothing(folder: Path) -> None:
    table = csv_of(NAMES, VALUES, [*VALUES[:-1], "x"])
    bad = f"row 2 below the header: {NAMES[-1]} is 'x'"
    command = ("predict", "houses.csv", "--output", "out.csv")
    (folder / "houses.csv").write_text(table)
    fails(run(*command, folder=folder), bad)
    fails(run("predict", data=table.encode()), bad)
    (folder / "houses.csv").write_text(csv_of(NAMES, VALUES))
    folder.chmod(0o755)
    fails(run(*command, folder=folder), "not writable", "--user")
    assert [path.name for path in folder.iterdir()] == ["houses.csv"]


def test_a_long_pipe_needs_a_disk(folder: Path) -> None:
    row = csv_of(VALUES)
    rows = (64 << 20) // len(row) + 1
    table = (csv_of(NAMES) + rows * row).encode()
    command = ("predict", "--only", "--output", "out.parquet")
    fails(run(*command, data=table), "give it as a FILE")
    options = ("-i", "--tmpfs", "/tmp", *ALONE, "-v", f"{folder}:/data")  # noqa: S108
    done = docker("run", "--rm", *options, IMAGE, *command, data=table)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["out.parquet"]
    counted = duckdb.execute(f"SELECT count(*) FROM '{folder}/out.parquet'")
    assert counted.fetchall() == [(rows,)]


def test_a_full_disk_leaves_nothing(folder: Path) -> None:
    repeat(80_000, folder / "houses.csv")
    command = "predict /data/houses.csv --output /small/out.csv; echo $?; ls -a /small"
    done = docker(
        *("run", "--rm", *ALONE, "-v", f"{folder}:/data"),
        *("--tmpfs", "/small:size=1m,mode=1777", "--entrypoint", "sh", IMAGE, "-c", command),
    )
    assert done.stdout.split() == [b"2", b".", b".."], done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_many_rows_in_512_mb(folder: Path, form: str) -> None:
    table = folder / f"houses.{form}"
    repeat(MANY, table)
    done = run("predict", table.name, "--only", "--output", "there.csv", folder=folder)
    assert done.returncode == 0, done.stderr
    outside(str(table), "--only", "--output", str(folder / "here.csv"))
    assert filecmp.cmp(folder / "there.csv", folder / "here.csv", shallow=False)


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


def test_what_is_in_the_image_and_a_fresh_clone_builds_the_same(folder: Path) -> None:
    cloned = 'git ls-files -z | xargs -0 cp --parents -t "$0"'
    subprocess.run(["sh", "-c", cloned, folder], cwd=REPOSITORY, check=True)
    first = contents(IMAGE)
    assert build(f"{IMAGE}-again", folder).returncode == 0
    assert contents(f"{IMAGE}-again") == first
    added = first.keys() - contents(BASE).keys()
    assert {name.split("/")[0] for name in added} == {"opt", "data"}
    tops = {name.split("/")[2] for name in added if name.startswith("opt/project/")}
    packages = {"duckdb", "_duckdb-stubs", "adbc_driver_duckdb", "msgspec"}
    packages |= {"click", "granian", "prometheus_client"}
    rest = {top for top in tops if not top.startswith("_duckdb.") and ".dist-info" not in top}
    assert rest == packages | {"LICENSE", "bin", "models", "pycache", "reports", "stages"}


def test_the_image_is_small_and_labelled() -> None:
    [inspected] = json.loads(docker("inspect", IMAGE).stdout)
    # BuildKit does not keep the base where `docker inspect` sees it, this does
    docker("rm", docker("create", BASE).stdout.decode().strip())
    [base] = json.loads(docker("inspect", BASE).stdout)
    assert inspected["Size"] - base["Size"] <= 100e6
    assert inspected["Config"]["User"] not in ("", "0", "root", "0:0")
    labels = inspected["Config"]["Labels"]
    for name, value in ARGUMENTS.items():
        assert labels[f"org.opencontainers.image.{name.lower()}"] == value


def test_the_image_serves_in_64_mb_is_healthy_and_ends_cleanly() -> None:
    rows = f"SELECT {COLUMNS} FROM 'data/test/sample.parquet' LIMIT 100"
    texts = duckdb.execute(f"SELECT to_json(t) FROM ({rows}) AS t").fetchall()
    body = ",".join(text for [text] in texts)
    expected = outside("data/test/sample.parquet", "--only").split()[1:101]
    with background(*SMALL, IMAGE, "serve") as name:
        while state(name)["Health"]["Status"] == "starting":
            time.sleep(0.2)
        assert state(name)["Health"]["Status"] == "healthy"
        address = docker("port", name, "8080").stdout.decode().split()[0]
        with urlopen(f"http://{address}/predict", f"[{body}]".encode()) as answer:
            found = [each["prediction"] for each in json.load(answer)]
        assert found == [float(each) for each in expected]
        with urlopen(f"http://{address}/") as page:
            assert page.read() == (REPOSITORY / PAGE).read_bytes()
        docker("stop", name)
        assert (state(name)["ExitCode"], state(name)["OOMKilled"]) == (0, False)
        assert docker("logs", name).stderr == b"serve: http://0.0.0.0:8080\n"


@pytest.mark.parametrize(("missing", "form"), [("mean", "csv"), ("drop", "parquet")])
def test_another_predictor_over_that_of_the_image_gives_the_bits_of_this_machine(
    missing: str, form: str, tmp_path: Path
) -> None:
    folder = make_checkout(tmp_path / "cars", **PARAMETERS | {"missing": missing})
    with chdir(folder):
        write(cars(600), form)
        for stage in (load, train, quantize):
            stage.main()
    for path in (folder, folder / "data", folder / "models", *folder.rglob("*.json")):
        path.chmod(0o755)
    mounted = (
        "-v",
        f"{folder}:/data:ro",
        "-v",
        f"{folder / PREDICTOR}:/opt/project/{PREDICTOR}:ro",
    )
    there = docker("run", "--rm", *ALONE, *mounted, IMAGE, "predict", str(RAW))
    command = (sys.executable, "-m", "stages.predict", str(RAW))
    here = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True)
    assert (there.returncode, there.stdout, there.stderr) == (0, here.stdout, here.stderr)
    assert there.stdout.count(b"\n") > 500
