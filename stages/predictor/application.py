"""The model behind HTTP, as an application of ASGI: https://asgi.readthedocs.io.

There is no framework: ten paths need two mappings, and a request half the time.
"""

import json
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from stages.predictor import protocol
from stages.predictor.document import Predictor
from stages.predictor.openapi import JSON, openapi
from stages.predictor.protocol import ABOUT, MOST_ROWS
from stages.predictor.rows import Prediction, Scorer
from stages.project.cli import InputError
from stages.project.text import shown

LONGEST_BODY = 1 << 18  # bytes
MOST_HELD = 1 << 23  # bytes of all bodies and answers that are on their way
SECONDS = (1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1)  # buckets of the histogram
HTML, TEXT = "text/html; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class RefusedError(InputError):
    """A request that gets another status than 400; its connection ends, for a body may follow."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status, self.headers = status, [(b"connection", b"close"), *headers]


TOO_LONG = 413, f"the body must be at most {LONGEST_BODY:,} bytes"


class Application:
    """Answers for one model, and its page at / if there is one."""

    def __init__(self, model: Predictor, page: bytes | None = None) -> None:
        self.scorer = Scorer(model)
        self.held = 0  # bytes of bodies and answers
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter = partial(Counter, registry=registry)
        self.requests = counter("predictor_requests", "Requests answered", ["path", "status"])
        seconds = "predictor_request_seconds", "Time to an answer", ["path"]
        self.seconds = Histogram(*seconds, registry=registry, buckets=SECONDS)
        self.rows = counter("predictor_rows", "Rows predicted")
        unlike = "Values outside the range of the training rows, or texts that they have not"
        self.unlike = counter("predictor_inputs_outside_training", unlike, ["column"])
        for name in self.scorer.kinds:  # so that its first event is an increase
            self.unlike.labels(name)
        self.posts: Mapping[str, Callable[..., Any]] = {
            "/predict": protocol.plain,
            f"{ABOUT}/infer": partial(protocol.tensors, kinds=self.scorer.kinds),
        }
        found = {path: told for path, (_, told) in protocol.documents(self.scorer.kinds).items()}
        found["/openapi.json"] = openapi(model)
        self.gets = {path: (JSON, _encoded(told)) for path, told in found.items()}
        if page:
            self.gets["/"] = HTML, page
        self.paths = {*self.posts, *self.gets, "/metrics"}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        path = scope["raw_path"].decode()  # so that no %2f of it is a slash
        path, status, more = path.rstrip("/") or "/", 200, Headers()
        try:
            kind, content = await self.answer(scope["method"], path, scope["headers"], receive)
        except InputError as error:
            status = 400
            if isinstance(error, RefusedError):
                status, more = error.status, error.headers
            kind, content = JSON, _encoded({"error": str(error)})
        except ConnectionError:  # the client has gone
            return
        except Exception:
            traceback.print_exc()
            status, kind, content = 500, JSON, _encoded({"error": "a fault of the server"})
        known = path if path in self.paths else "other"
        self.requests.labels(known, status).inc()
        self.seconds.labels(known).observe(time.perf_counter() - began)
        length = str(len(content)).encode()
        headers = [*more, (b"content-type", kind.encode()), (b"content-length", length)]
        self.held += len(content)
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content})
        finally:
            self.held -= len(content)

    async def answer(
        self, method: str, path: str, headers: Headers, receive: Receive
    ) -> tuple[str, bytes]:
        """Return the type and the content of the answer to a request."""
        if path not in self.paths:
            hint = "`python -m stages.report` makes it" if path == "/" else "see /openapi.json"
            raise RefusedError(404, f"there is no {shown(path)}: {hint}")
        allowed = ("POST",) if path in self.posts else ("GET", "HEAD")
        if method not in allowed:
            allow = b"allow", ", ".join(allowed).encode()
            raise RefusedError(405, f"{path} takes {allowed[0]}, got {method}", allow)
        if path == "/metrics":
            return TEXT, generate_latest(self.registry)
        if path in self.gets:
            return self.gets[path]
        check(dict(headers))
        document = protocol.loads(await self.body(receive))
        return JSON, _encoded(self.posts[path](document, self.scored))

    async def body(self, receive: Receive) -> bytes:
        """Read the body of a request."""
        body, more = b"", True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                chunk, more = message["body"], message["more_body"]
                body += chunk
                self.held += len(chunk)
                if len(body) > LONGEST_BODY:
                    raise RefusedError(*TOO_LONG)
                if self.held > MOST_HELD:
                    raise RefusedError(503, "too many requests at once, try again")
        finally:
            self.held -= len(body)
        return body

    def scored(self, rows: Sequence[protocol.Row]) -> list[Prediction]:
        """Return the predictions of some rows, and count them."""
        if len(rows) > MOST_ROWS:
            raise InputError(f"a request has at most {MOST_ROWS:,} rows, got {len(rows):,}")
        found = [self.scorer.predict(row, f"row {n}") for n, row in enumerate(rows, 1)]
        self.rows.inc(len(found))
        for each in found:
            for name in each.warnings:
                self.unlike.labels(name).inc()
        return found


def check(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body of which its head tells that it cannot be read."""
    if b"inference-header-content-length" in headers:
        raise RefusedError(400, "tensors must be JSON: set binary_data=False in the client")
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if coding.lower() != "identity":
        raise RefusedError(415, f"the body must have no content-encoding, got {shown(coding)}")
    if int(headers.get(b"content-length", 0)) > LONGEST_BODY:
        raise RefusedError(*TOO_LONG)


def _encoded(document: Any) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
