"""The model behind HTTP, as an application of ASGI: https://asgi.readthedocs.io.

There is no framework: ten paths need no more than two mappings, and a request half the time.
"""

import json
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from stages.predictor.document import VERSION, Predictor
from stages.predictor.openapi import JSON, openapi
from stages.predictor.protocol import MODEL, MOST_ROWS
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

    def __init__(self, status: int, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.headers = [(b"connection", b"close")]
        if allow:
            self.headers.append((b"allow", allow.encode()))


TOO_LONG = RefusedError(413, f"the body must be at most {LONGEST_BODY:,} bytes")


class Application:
    """Answers for one model.

    Parameters
    ----------
    model : Predictor
    page : bytes, optional
        The page at /.
    """

    def __init__(self, model: Predictor, page: bytes | None = None) -> None:
        self.scorer = Scorer(model)
        self.held = 0  # bytes of bodies and answers
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "predictor_requests", "Requests answered", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "predictor_request_seconds",
            "Time to an answer",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.rows = Counter("predictor_rows", "Rows predicted", registry=self.registry)
        self.unlike = Counter(
            "predictor_inputs_outside_training",
            "Values outside the range of the training rows, or texts that they have not",
            ["column"],
            registry=self.registry,
        )
        for name in self.scorer.kinds:  # so that its first event is an increase
            self.unlike.labels(name)
        about = f"/v2/models/{MODEL}"
        self.posts = {"/predict": self.predict, f"{about}/infer": self.infer}
        documents = {
            "/v2": {"name": MODEL, "version": str(VERSION), "extensions": []},
            "/v2/health/live": {"live": True},
            "/v2/health/ready": {"ready": True},
            about: protocol.metadata(self.scorer.kinds),
            f"{about}/ready": {"name": MODEL, "ready": True},
            "/openapi.json": openapi(model),
        }
        self.gets = {path: (JSON, _encoded(found)) for path, found in documents.items()}
        if page:
            self.gets["/"] = HTML, page

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        path = scope["raw_path"].decode()  # so that no %2f of it is a slash
        path, status, headers = path.rstrip("/") or "/", 200, Headers()
        try:
            kind, content = await self.answer(scope["method"], path, scope["headers"], receive)
        except InputError as error:
            status = 400
            if isinstance(error, RefusedError):
                status, headers = error.status, error.headers
            kind, content = JSON, _encoded({"error": str(error)})
        except ConnectionError:  # the client has gone
            return
        except Exception:
            traceback.print_exc()
            status, kind, content = 500, JSON, _encoded({"error": "a fault of the server"})
        known = path if path in self.posts or path in self.gets or path == "/metrics" else "other"
        self.requests.labels(known, status).inc()
        self.seconds.labels(known).observe(time.perf_counter() - began)
        headers += [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(content)).encode()),
        ]
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
        if path in self.posts:
            if method != "POST":
                raise RefusedError(405, f"{path} takes POST, got {method}", allow="POST")
            check(dict(headers))
            found = protocol.loads(await self.body(receive))
            return JSON, _encoded(self.posts[path](found))
        if path not in (*self.gets, "/metrics"):
            hint = "`python -m stages.report` makes it" if path == "/" else "see /openapi.json"
            raise RefusedError(404, f"there is no {shown(path)}: {hint}")
        if method not in ("GET", "HEAD"):
            raise RefusedError(405, f"{path} takes GET, got {method}", allow="GET, HEAD")
        if path == "/metrics":
            return TEXT, generate_latest(self.registry)
        return self.gets[path]

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
                    raise TOO_LONG
                if self.held > MOST_HELD:
                    raise RefusedError(503, "too many requests at once, try again")
        finally:
            self.held -= len(body)
        return body

    def predict(self, found: Any) -> Any:
        return protocol.plain_answer(self.scored(protocol.plain_rows(found)), found)

    def infer(self, found: Any) -> Any:
        return protocol.tensor_answer(
            self.scored(protocol.tensor_rows(found, self.scorer.kinds)), found
        )

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
    if (coding := headers.get(b"content-encoding", b"identity").decode("latin-1")) != "identity":
        raise RefusedError(415, f"the body must have no content-encoding, got {shown(coding)}")
    if int(headers.get(b"content-length", 0)) > LONGEST_BODY:
        raise TOO_LONG


def _encoded(document: Any) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
