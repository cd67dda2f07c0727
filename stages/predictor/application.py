"""The model behind HTTP, as an application of RSGI, which is Granian's interface."""

import asyncio
import time
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any

import prometheus_client as prometheus
from msgspec.json import encode

from stages.predictor import protocol
from stages.predictor.document import Predictor
from stages.predictor.openapi import JSON, openapi
from stages.predictor.rows import Prediction, Scorer
from stages.project.cli import InputError
from stages.project.text import shown

LONGEST_BODY = 1 << 18  # bytes
PATIENCE = 30  # seconds for a body to arrive
SECONDS = (1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1)  # buckets of the histogram
HTML, TEXT = "text/html; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"


class RefusedError(InputError):
    """A request that gets another status than 400."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


class Application:
    """Answers for one model, and its page at / if there is one."""

    def __init__(self, model: Predictor, page: bytes | None = None) -> None:
        self.scorer = Scorer(model)
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        counter = partial(prometheus.Counter, registry=registry)
        self.requests = counter("predictor_requests", "Requests answered", ["path", "status"])
        seconds = partial(prometheus.Histogram, registry=registry, buckets=SECONDS)
        self.seconds = seconds("predictor_request_seconds", "Time to an answer", ["path"])
        self.rows = counter("predictor_rows", "Rows predicted")
        unlike = "Values outside the range of the training rows, or texts that they have not"
        self.unlike = counter("predictor_inputs_outside_training", unlike, ["column"])
        kinds = self.scorer.kinds
        for name in kinds:  # so that its first event is an increase
            self.unlike.labels(name)
        self.posts = {"/predict": protocol.predict, f"{protocol.ABOUT}/infer": protocol.infer}
        documents = {**protocol.describe(kinds), "/openapi.json": openapi(model)}
        self.fixed = {path: (JSON, _encode(each)) for path, each in documents.items()}
        if page:
            self.fixed["/"] = HTML, page

    async def __call__(self, scope: Any, connection: Any) -> None:
        """Answer a request, whose body is what `connection` iterates over."""
        began, status, headers = time.perf_counter(), 200, list[tuple[str, str]]()
        path = scope.path.rstrip("/") or "/"
        try:
            kind, content = await self.answer(scope.method, path, connection)
        except InputError as error:
            status = 400
            if isinstance(error, RefusedError):
                status, headers = error.status, [*error.headers]
            kind, content = JSON, _encode({"error": str(error)})
        except Exception:
            traceback.print_exc()
            status, kind, content = 500, JSON, _encode({"error": "a fault of the server"})
        known = "other" if status == 404 else path
        self.requests.labels(known, status).inc()
        self.seconds.labels(known).observe(time.perf_counter() - began)
        connection.response_bytes(status, [("content-type", kind), *headers], content)

    async def answer(self, method: str, path: str, chunks: Any) -> tuple[str, bytes]:
        """Return the type and the content of the answer to a request."""
        fixed = self.fixed.get(path)
        if path == "/metrics":
            fixed = TEXT, prometheus.generate_latest(self.registry)
        if path not in self.posts and not fixed:
            hint = "`python -m stages.report` makes it" if path == "/" else "see /openapi.json"
            raise RefusedError(404, f"there is no {shown(path)}: {hint}")
        allowed = "GET, HEAD" if fixed else "POST"
        if method not in allowed.split(", "):
            raise RefusedError(405, f"{path} takes {allowed}, got {method}", ("allow", allowed))
        if fixed:
            return fixed
        body = await _read(chunks)
        return JSON, _encode(self.posts[path](body, self.scorer.kinds, self.score))

    def score(self, rows: Sequence[protocol.Row]) -> list[Prediction]:
        """Return the predictions of some rows, and count them."""
        found = [self.scorer.predict(row, f"row {n}") for n, row in enumerate(rows, 1)]
        self.rows.inc(len(found))
        for each in found:
            for name in each.warnings:
                self.unlike.labels(name).inc()
        return found


async def _read(chunks: Any) -> bytearray:
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in chunks:
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise RefusedError(413, f"the body must be at most {LONGEST_BODY:,} bytes")
    except TimeoutError as error:
        raise RefusedError(408, f"the body must arrive within {PATIENCE} seconds") from error
    return body


def _encode(document: Any) -> bytes:
    return encode(document) + b"\n"
