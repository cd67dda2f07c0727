"""Answer HTTP: predictions of rows of JSON, and the page of the model.

POST /predict takes an object of columns, or an array of them, as rows of the table have them; null
is a gap. POST /v2/models/predictor/infer is that of the Open Inference Protocol, version 2.
/openapi.json describes these, /metrics is for Prometheus, and / is the page that
`python -m stages.report` makes. SIGTERM ends the server once it has answered its requests.
"""

import os
import signal

if __name__ == "__main__":  # until main listens; the first process of a container ignores them
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: os._exit(0))

import argparse
import math
import re
import socket
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stages.predictor import document
from stages.predictor.application import LONGEST_BODY, Application
from stages.project import cli
from stages.project.cli import InputError
from stages.project.files import PAGE, PREDICTOR

ROOT = Path(__file__).parent.parent
PATIENCE = 30  # seconds for a request to arrive, or an answer to be read
LINGER, GRACE = 0.5, 5  # seconds to end in, at least and at most; Docker waits for 10
LONGEST_HEAD = 1 << 14  # bytes
LONGEST_REQUEST = 4 * LONGEST_BODY  # with its head and what divides its chunks
MOST_CONNECTIONS = 256
MOST_AHEAD = 8  # requests that a connection sends before it has read the answers
UPGRADE = re.compile(rb"\nupgrade(?=[ \t]*:)", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """A connection of uvicorn, which by itself waits for ever, and reads without a limit.

    What is raised in a callback makes the parser stop, and uvicorn answer 400.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.ending = False
        self.now_waiting()
        if len(self.connections) > MOST_CONNECTIONS:  # the one that has waited longest goes
            oldest = min(self.connections, key=lambda each: getattr(each, "since", math.inf))
            self.connections.discard(oldest)
            oldest.transport.abort()

    def now_waiting(self) -> None:
        self.since = self.loop.time()  # when it began to wait for the client
        self.received = self.head = 0  # bytes since then
        self.in_head = True

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            raise OverflowError
        super().on_message_begin()
        self.now_waiting()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head += len(name) + len(value) + 32
        if self.head > LONGEST_HEAD:
            raise OverflowError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():  # a name that came in two parts
            raise OverflowError
        super().on_headers_complete()
        self.in_head = False
        self.cycle.keep_alive &= not self.ending

    def data_received(self, data: bytes) -> None:
        # a server may ignore this field; llhttp would take the body for that of another protocol
        super().data_received(UPGRADE.sub(b"\nignored", data))
        self.received += len(data)
        if self.received > (LONGEST_HEAD if self.in_head else LONGEST_REQUEST):
            self.transport.abort()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.since = math.inf

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.now_waiting()
        self.in_head = not self.cycle.more_body  # of the next request, whose head may have come

    def end_if_slow(self) -> None:
        now = self.loop.time()
        if self.flow.write_paused:  # the client does not read
            self.since = min(self.since, now)
        if now - self.since > PATIENCE:
            self.transport.abort()

    def shutdown(self) -> None:
        self.ending = True
        self.loop.call_later(LINGER, super().shutdown)  # what was sent by now is answered


def page_of(digest: str) -> bytes | None:
    """Return the page, if there is one, and it shows the predictor of this SHA-256."""
    page = (ROOT / PAGE).read_bytes() if (ROOT / PAGE).is_file() else b""
    if f'<meta name="predictor" content="{digest}">'.encode() in page:
        return page
    cli.say(f"serve: there is no {PAGE} of this model: `python -m stages.report` makes it")
    return None


def parse() -> argparse.Namespace:
    parser = cli.parser("python -m stages.serve", __doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", default=8080, type=int, help="its port, 8080 by default")
    args = parser.parse_args()
    if not 0 <= args.port < 2**16:
        parser.error(f"--port must be from 0 to 65535, got {args.port}")
    return args


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except (TypeError, ValueError) as error:  # of names that are none
        raise InputError(f"--host: {error}") from error
    # inherited by connections: asyncio sets it only where a socket tells its protocol
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def main() -> None:
    args = parse()
    model = document.load(ROOT / PREDICTOR)
    application = Application(model, page_of(document.digest(ROOT / PREDICTOR)))

    async def end_slow() -> None:
        for connection in [*server.server_state.connections]:
            if isinstance(connection, Connection):
                connection.end_if_slow()

    config = uvicorn.Config(
        application,
        http=Connection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # the application prints its own faults
        timeout_keep_alive=PATIENCE,
        timeout_graceful_shutdown=GRACE,
        proxy_headers=False,
        server_header=False,
        callback_notify=end_slow,  # every second or two
        timeout_notify=1,
    )
    server = uvicorn.Server(config)
    for signum in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again in the end
        signal.signal(signum, server.handle_exit)
    with listening(args.host, args.port) as listener:
        host, port = listener.getsockname()[:2]
        cli.say(f"serve: http://{f'[{host}]' if ':' in host else host}:{port}")
        server.run(sockets=[listener])


if __name__ == "__main__":
    cli.finish(main, "serve")
