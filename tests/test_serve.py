"""A server on this machine: its limits, its end, and whether it keeps to /openapi.json."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stages import serve
from stages.predictor import document
from stages.project.files import PREDICTOR, SCORES
from tests.conftest import posix, start_server, stop_server

FEATURES = document.load(PREDICTOR).features
VALUES: dict[str, Callable[[Any], Any]] = {  # of any project's predictor
    "number": lambda feature: feature.min,
    "boolean": lambda feature: True,
    "date": lambda feature: "2020-12-31",
    "text": lambda feature: "a text",
}
SOURCES = [(each, it) for each in FEATURES for it in each.factors or [each]]
ROW = {it.column: VALUES[it.kind](each) for each, it in SOURCES[::-1]}
BODY = json.dumps(ROW).encode()
POST = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n"
WHOLE = POST % len(BODY) + BODY
SERVE = "from stages import serve; {}; serve.cli.finish(serve.main, 'serve')"
HEALTH = b"GET /v2/health/ready HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process, port = start_server()
    yield port
    assert stop_server(process) == (0, "")


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def receive(port: int, data: bytes, answers: int | None = None) -> bytes:
    """Send bytes, and return so many answers, or all that comes until the server ends it."""
    with connect(port) as connection:
        found = b""
        with suppress(OSError):  # as it ends before it has read all
            connection.sendall(data)
        with suppress(OSError):
            while found.count(b"}\n") != answers and (chunk := connection.recv(1 << 16)):
                found += chunk
    return found


def test_connections_stay_open_for_more_requests(port: int) -> None:
    assert receive(port, WHOLE * 100, answers=100).count(b"HTTP/1.1 200 OK") == 100
    assert receive(port, b"GET /v2/health/ready HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK")


def test_an_interval_is_offered_if_the_scores_have_half_widths(port: int) -> None:
    offered = "half_widths" in document.load_scores()
    answer = receive(port, WHOLE.replace(b"predict", b"predict?interval=0.9"), answers=1)
    assert answer.startswith(b"HTTP/1.1 200 " if offered else b"HTTP/1.1 400 ")
    assert (b'"low":' in answer) is offered
    answer = receive(port, WHOLE.replace(b"predict", b"predict?interval=7"), answers=1)
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.slow
def test_it_serves_without_intervals_where_the_scores_are_of_another_model(tmp_path: Path) -> None:
    for path in (PREDICTOR, SCORES):
        (tmp_path / path).parent.mkdir()
    (tmp_path / PREDICTOR).write_bytes(PREDICTOR.read_bytes())
    for scores in (None, '{"predictor": "another", "half_widths": {"0.9": 1}}', "{"):
        if scores:
            (tmp_path / SCORES).write_text(scores)
        root = f"serve.ROOT = serve.Path({str(tmp_path)!r})"
        process, port = start_server(("-c", SERVE.format(root)))
        assert receive(port, WHOLE, answers=1).startswith(b"HTTP/1.1 200 ")
        answer = receive(port, WHOLE.replace(b"predict", b"predict?interval=0.9"), answers=1)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"no half-widths" in answer
        assert stop_server(process) == (0, "")


@posix
def test_heads_and_bodies_have_a_limit(port: int) -> None:
    field = b"x: " + b"x" * 8 * serve.LONGEST_HEAD
    assert receive(port, b"GET / HTTP/1.1\r\n" + field).startswith(b"HTTP/1.1 431 ")
    for head in (b"Content-Length: 9999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        chunks = b"40000\r\n" + b" " * (1 << 18) + b"\r\n1\r\n \r\n"
        answer = receive(port, b"POST /predict HTTP/1.1\r\nHost: here\r\n" + head + chunks)
        assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_port_that_is_taken_is_a_mistake_of_one_line(port: int) -> None:
    command = [sys.executable, "-m", "stages.serve", "--port"]
    for given, message in ((str(port), "attempting to bind"), ("70000", "0-65535")):
        done = subprocess.run([*command, given], capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr


def test_it_loads_neither_duckdb_nor_numpy() -> None:
    code = "import stages.serve, stages.predictor.application, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"duckdb", "numpy"} & {*done.stdout.split()}


@pytest.mark.slow
@posix
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_a_request_that_has_begun(signum: int) -> None:
    process, port = start_server()
    with connect(port) as connection, connect(port) as idle:
        connection.sendall(WHOLE[:-1])
        receive(port, HEALTH, answers=1)  # the server has seen what was sent before
        process.send_signal(signum)
        assert idle.recv(1) == b""
        with pytest.raises(OSError, match="refused"):
            connect(port)
        connection.sendall(WHOLE[-1:])
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


@posix
@pytest.mark.slow
def test_a_signal_ends_it_though_a_client_never_sends_the_rest() -> None:
    code = SERVE.format("serve.GRACE = 0.5")
    process, port = start_server(("-c", code))
    with connect(port) as connection:
        connection.sendall(WHOLE[:-1])
        receive(port, HEALTH, answers=1)
        assert stop_server(process) == (0, "")


@pytest.mark.slow
def test_a_client_that_is_slow_is_let_go() -> None:
    code = SERVE.format("from stages.predictor import application; application.PATIENCE = 2")
    process, port = start_server(("-c", code))
    late = b"HTTP/1.1 408 Request Timeout"
    cases = (b"", b""), (b"GET / HT", b""), (WHOLE, b"HTTP/1.1 200"), (WHOLE[:-1], late)
    for data, answer in cases:
        began = time.monotonic()
        assert receive(port, data)[: len(answer)] == answer
        assert time.monotonic() - began > 1.9
    assert stop_server(process) == (0, "")


@pytest.mark.slow
def test_its_description_is_kept(port: int, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    url = f"http://127.0.0.1:{port}/openapi.json"
    # a schema cannot say that a shape is that of the data, or that a product is no number
    options = ["--max-examples", "300", "--exclude-checks", "positive_data_acceptance"]
    options.append("--generation-deterministic")
    rule = 'checks.negative_data_rejection.expected-statuses = ["4xx"]'  # also 413
    (tmp_path / "schemathesis.toml").write_text(rule)
    command = [str(program), "run", url, *options]  # which keeps a cache where it runs
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    [cases] = re.findall(r"(\d+) generated, \1 passed", done.stdout)
    assert int(cases) > 500
