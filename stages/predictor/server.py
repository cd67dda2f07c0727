"""HTTP by Granian, in one process: its limits, and how it ends."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from stages.predictor.application import PATIENCE, Application
from stages.project import cli

GRACE = 4  # seconds for the last answers; Docker waits for 10
LONGEST_HEAD = 1 << 14  # bytes
MOST_CONNECTIONS = 64  # further ones wait; the bodies of these fit into 64 MB


async def serve(application: Application, host: str, port: int) -> NoReturn:
    """Answer requests until a signal comes, then those that have come by now, and exit."""
    server = Server(
        application,
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
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    while not serving.done():  # the server does not tell when it listens
        with suppress(OSError):
            _, writer = await asyncio.open_connection(near, port)
            writer.close()
            cli.say(f"serve: http://{f'[{host}]' if ':' in host else host}:{port}")
            break
        await asyncio.sleep(0.01)
    await asyncio.wait([serving, loop.create_task(ended.wait())], return_when="FIRST_COMPLETED")
    if not ended.is_set():
        await serving  # which raises what has ended it
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait([serving], timeout=GRACE)
    # at once, for Granian's thread may still need the loop and the interpreter
    os._exit(0 if ended.is_set() else 1)
