"""Answer HTTP: predictions of rows of JSON, and the page of the model.

POST /predict takes an object of columns, or an array of them, as rows of the table have them; null
is a gap. POST /v2/models/predictor/infer is that of the Open Inference Protocol, version 2.
/openapi.json describes these, /metrics is for Prometheus, and / is the page that
`python -m stages.report` makes. SIGTERM ends the server once it has answered its requests.
"""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from stages.predictor import document
from stages.project import cli
from stages.project.cli import InputError
from stages.project.files import PAGE, PREDICTOR

ROOT = Path(__file__).parent.parent
GRACE = 4  # seconds for the last answers; Docker waits for 10
LONGEST_HEAD = 1 << 14  # bytes
MOST_CONNECTIONS = 64  # further ones wait; the bodies of these fit into 64 MB


async def serve(host: str, port: int) -> NoReturn:
    """Answer requests until a signal comes, then those that have come by now, and exit."""
    try:  # the server itself would share the port of another one of its kind
        with socket.create_server((host, port)) as probe:
            port = probe.getsockname()[1]
    except OverflowError as error:
        raise InputError(f"--port {port}: {error}") from error
    with cli.requiring("serve"):
        from granian.constants import HTTPModes, Interfaces
        from granian.http import HTTP1Settings
        from granian.server.embed import Server

        from stages.predictor.application import PATIENCE, Application
    model, half_widths, page = document.load(ROOT / PREDICTOR), {}, None
    try:
        page = document.read_report(PAGE, ROOT)
    except InputError as error:
        cli.say(f"serve: {error}")
    with suppress(InputError):  # scores of another model, which offer no intervals
        half_widths = document.load_scores(ROOT).get("half_widths", {})
    server = Server(
        Application(model, page, half_widths),
        host,
        port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(PATIENCE * 1000, max_buffer_size=LONGEST_HEAD),
        websockets=False,
        backpressure=MOST_CONNECTIONS,
        log_enabled=False,  # the application prints its own faults
    )
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: loop.call_soon_threadsafe(ended.set))
    serving = loop.create_task(server.serve())
    near = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
    while not serving.done():  # the server does not tell when it listens
        await asyncio.sleep(0.01)
        with suppress(OSError), socket.create_connection((near, port)):
            cli.say(f"serve: http://{host}:{port}")
            break
    await asyncio.wait([serving, loop.create_task(ended.wait())], return_when="FIRST_COMPLETED")
    if not ended.is_set():
        await serving  # which raises what has ended it
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait([serving], timeout=GRACE)
    # at once, for Granian's thread may still need the loop and the interpreter
    os._exit(0 if ended.is_set() else 1)


def main() -> None:
    parser = cli.parser("python -m stages.serve", __doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", default=8080, type=int, help="its port, 8080 by default")
    args = parser.parse_args()
    asyncio.run(serve(args.host, args.port))


if __name__ == "__main__":
    cli.finish(main, "serve")
