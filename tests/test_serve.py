"""A server on this machine: its limits, its end, and what 10,000 bad requests do to it."""

import http.client
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import serve
from stages.predictor import document
from stages.project.files import PAGE, PREDICTOR
from tests.conftest import ended, started

FEATURES = document.load(PREDICTOR).features
VALUES: dict[str, Callable[[Any], Any]] = {  # of any project's predictor
    "number": lambda feature: feature.min,
    "boolean": lambda feature: True,
    "date": lambda feature: "2020-12-31",
    "text": lambda feature: "a text",
}
ROW = {each.column: VALUES[each.kind](each) for each in FEATURES}
BODY = json.dumps(ROW).encode()
POST = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request"
WHOLE = POST % len(BODY) + BODY


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process, port = started()
    yield port
    assert ended(process) == (0, "")


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def exchanged(port: int, data: bytes) -> bytes:
    """Send bytes, and return all that comes back until the connection ends or rests."""
    with connected(port) as connection:
        found = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(1 << 16):
                found += chunk
        except OSError:  # the server has ended it
            pass
    return found


def predicted(port: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict", BODY)
    answer = connection.getresponse()
    assert answer.status == 200
    return float(json.load(answer)["prediction"])


def sockets(pid: int) -> int:
    """Count the open sockets of a process."""
    files = Path(f"/proc/{pid}/fd").iterdir()
    return sum(str(file.readlink()).startswith("socket:") for file in files)


def resident(port: int) -> float:
    """Return the memory of the server in MB."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    [size] = re.findall(r"^process_resident_memory_bytes (\S+)$", text, re.M)
    return float(size) / 2**20


def test_connections_stay_open_for_more_requests(port: int) -> None:
    with connected(port) as connection:
        for path, status in (("/v2/health/ready", 200), ("/metrics", 200), ("/nothing", 404)):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.read()
            assert answer.status == status
        assert connection.recv(1) == b""  # after a refusal


def test_a_body_may_begin_before_the_answer_to_the_request_ahead(port: int) -> None:
    many = json.dumps([ROW] * 500).encode()
    assert len(many) > serve.LONGEST_HEAD
    with connected(port) as connection:
        connection.sendall(WHOLE + POST % len(many) + many[:9])
        answer = b""
        while not answer.endswith(b"}\n"):
            answer += connection.recv(1 << 16)
        connection.sendall(many[9:])
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")


def test_heads_and_what_follows_a_body_have_a_limit(port: int) -> None:
    begin = b"GET / HTTP/1.1\r\n"
    chunked = b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n"
    fields = b"x:\r\n" * (serve.LONGEST_HEAD // 32)
    for data in (begin, chunked):
        assert exchanged(port, data + fields).startswith(b"HTTP/1.1 400 ")
    for field in (b"x: ", b"x"):  # of which uvicorn never sees the end
        assert exchanged(port, begin + field * serve.LONGEST_HEAD) == b""
    body = b"1\r\n7\r\n" * (serve.LONGEST_REQUEST // 6)
    assert b"200 OK" not in exchanged(port, chunked.replace(b"1\r\n7\r\n", body))


@pytest.mark.parametrize("cut", [0, 40, 62, 90, 200])
def test_an_upgrade_is_not_for_us_and_makes_no_request_of_a_body(port: int, cut: int) -> None:
    upgrade = b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    body = b"GET /v2/health/ready HTTP/1.1\r\nHost: here\r\n\r\n"
    for content, good in ((BODY, b"prediction"), (body, b"is not JSON")):
        data = (POST % len(content)).replace(b"\r\n", upgrade, 1) + content
        with connected(port) as connection:
            connection.sendall(data[:cut])
            time.sleep(0.05)
            connection.sendall(data[cut:])
            answer = b""
            while not answer.endswith((b"}\n", b"received.")):
                answer += connection.recv(1 << 16)
        assert good in answer or answer.startswith(b"HTTP/1.1 400 ")
        assert b"ready" not in answer


def test_new_connections_take_the_place_of_those_that_wait_longest(port: int) -> None:
    waiting = [connected(port) for _ in range(serve.MOST_CONNECTIONS + 9)]
    assert predicted(port)
    gone = []
    for connection in waiting:
        connection.settimeout(0.01)
        try:
            gone.append(connection.recv(1) == b"")
        except ConnectionResetError:
            gone.append(True)
        except TimeoutError:
            gone.append(False)
        connection.close()
    assert gone == sorted(gone, reverse=True)
    assert 9 <= sum(gone) <= 11


def test_what_is_no_http_gets_400(port: int) -> None:
    for data in (b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 100):
        assert exchanged(port, data).startswith(REFUSED)
    assert exchanged(port, WHOLE * 1000).count(b"HTTP/1.1 200 OK") < 1000  # far ahead of answers


def test_a_port_that_is_taken_is_a_mistake_of_one_line(port: int) -> None:
    command = [sys.executable, "-m", "stages.serve", "--port"]
    for given, message in ((str(port), "Address already in use"), ("70000", "0 to 65535")):
        done = subprocess.run([*command, given], capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_serve_imports_only_what_the_image_has_and_no_duckdb() -> None:
    code = "import stages.serve, sys; print(*(m.__file__ for m in [*sys.modules.values()]"
    code += " if getattr(m, '__file__', None)), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {*re.findall(r"/site-packages/(\w+)", done.stdout)} - {
        "_distutils_hack",
        "_virtualenv",
        "typing_extensions",
    }
    assert packages == {"click", "httptools", "msgspec", "prometheus_client", "uvicorn"}


def test_the_page_is_that_of_the_predictor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "ROOT", tmp_path)
    (tmp_path / "reports").mkdir()
    page = tmp_path / PAGE
    assert serve.page_of("0" * 64) is None
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    page.write_text(f'<meta name="predictor" content="{digest}">')
    assert serve.page_of(digest) == page.read_bytes()
    capsys.readouterr()
    assert serve.page_of("1" * 64) is None
    assert capsys.readouterr().err == (
        "serve: there is no reports/model.html of this model: `python -m stages.report` makes it\n"
    )


def test_sigterm_answers_a_request_that_has_begun() -> None:
    process, port = started()
    with connected(port) as connection, connected(port) as idle:
        connection.sendall(WHOLE[:-1])
        predicted(port)  # the server has seen what was sent before
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(OSError, match="refused"):
            connected(port)
        connection.sendall(WHOLE[-1:])
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        assert idle.recv(1) == b""
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


def test_sigterm_resets_no_connection_that_is_busy() -> None:
    process, port = started()
    connection, answers = http.client.HTTPConnection("127.0.0.1", port, timeout=60), 0
    while process.poll() is None:
        connection.request("POST", "/predict", BODY)
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{")
        answers += 1
        if answers == 50:
            process.send_signal(signal.SIGTERM)
        if answer.will_close or (answers > 50 and not connection.sock):
            break
    assert answers >= 50
    assert process.wait(60) == 0


@pytest.mark.slow
def test_a_client_that_is_slow_is_let_go() -> None:
    code = "import stages.serve as s; s.PATIENCE = 2; s.cli.finish(s.main, 'serve')"
    process, port = started(("-c", code))
    beginnings = (b"", b"\r\n", b"GET / HT", WHOLE[:-1], WHOLE + b"\r\n")
    began = time.monotonic()
    connections = [connected(port) for _ in beginnings]
    for connection, data in zip(connections, beginnings, strict=True):
        connection.sendall(data)
    for connection in connections:
        while connection.recv(1 << 16):
            pass
        connection.close()
    assert time.monotonic() - began > 2
    outside = {key: 1e9 if isinstance(value, float) else value for key, value in ROW.items()}
    many = json.dumps([outside] * 900).encode()
    idle = sockets(process.pid)
    with connected(port) as unread:
        threading.Thread(target=unread.sendall, args=[(POST % len(many) + many) * 8]).start()
        time.sleep(1)
        assert sockets(process.pid) == idle + 1
        time.sleep(6)
        assert sockets(process.pid) == idle
    assert predicted(port)
    assert ended(process) == (0, "")


def broken(rng: random.Random) -> bytes:
    """Return a request of which something may be broken: its JSON, head, length or bytes."""
    odd: Any = rng.choice(
        [None, "", "x", -1, 1e308, 10**400, [], [[]], {}, True, "\ud800", ["a"] * 50]
    )
    body = json.dumps([ROW, ROW | {rng.choice([*ROW]): odd}][rng.randrange(2) :]).encode()
    for _ in range(rng.randrange(4)):
        at, length = rng.randrange(len(body) + 1), rng.randrange(8)
        middle = rng.choice([b"", rng.randbytes(length), b"[" * 300, b"NaN", b'"', b"\0", b"1e999"])
        body = body[:at] + middle + body[at + length :]
    length = rng.choice([len(body)] * 6 + [0, len(body) - 1, len(body) + 9, 10**30, -1])
    head = POST % length if rng.random() < 0.9 else POST.replace(b"Length: %d", rng.randbytes(9))
    path = rng.choice([b"/predict", b"/v2/models/predictor/infer", b"/" + rng.randbytes(5)])
    data = head.replace(b"/predict", path) + body
    if rng.random() < 0.2:
        at = rng.randrange(len(data))
        data = data[:at] + rng.randbytes(1) + data[at + 1 :]
    return data


@pytest.mark.slow
def test_it_outlives_ten_thousand_broken_requests_and_does_not_grow() -> None:
    process, port = started()
    rng, prediction = random.Random(0), predicted(port)  # noqa: S311
    seen: set[bytes] = set()
    sizes = []
    for _ in range(4):
        for _ in range(2_500):
            answer = exchanged(port, broken(rng))
            assert b"Traceback" not in answer
            seen.add(answer[9:12])
        sizes.append(resident(port))
    assert seen >= {b"", b"200", b"400", b"404"}
    assert not [status for status in seen if status.startswith(b"5")]
    assert max(sizes[1:]) - sizes[0] < 1
    assert predicted(port) == prediction
    assert ended(process) == (0, "")


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
    assert int(cases) > 1000
