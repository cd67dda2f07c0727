"""The model behind HTTP, as an application of RSGI, which is Granian's interface."""

import asyncio
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import prometheus_client as prometheus
from msgspec.json import encode

from stages.predictor import protocol
from stages.predictor.document import Predictor, half_width
from stages.predictor.rows import Prediction, Scorer
from stages.project.cli import InputError
from stages.project.text import show

LONGEST_BODY = 1 << 18  # bytes
PATIENCE = 30  # seconds for a body to arrive
SECONDS = (1e-4, 2e-4, 5e-4, 1e-3, 1e-2, 1e-1, 1)  # buckets of the histogram
Answer = tuple[int, list[tuple[str, str]], bytes]  # status, headers and content


class Application:
    """Answers for one model, with intervals of these half-widths, and its page at / if any."""

    def __init__(
        self, model: Predictor, page: bytes | None = None, half_widths: Mapping[str, float] = {}
    ) -> None:
        self.scorer = Scorer(model)
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        counter = partial(prometheus.Counter, registry=self.registry)
        timer = partial(prometheus.Histogram, registry=self.registry, buckets=SECONDS)
        self.seconds = timer("predictor_request_seconds", "Time to an answer", ["path", "status"])
        self.rows = counter("predictor_rows", "Rows predicted")
        unlike = "Values outside the range of the training rows, or texts that they have not"
        self.unlike = counter("predictor_inputs_outside_training", unlike, ["column"])
        for each in (*model.schema.sources, *model.features):
            self.unlike.labels(each.column)  # so that its first event is an increase
        infer = partial(protocol.infer, kinds=model.schema.kinds)
        self.posts = {"/predict": protocol.predict, f"{protocol.ABOUT}/infer": infer}
        self.intervals = {f"interval={level}": half for level, half in half_widths.items()}
        told = protocol.describe(model, half_widths)
        self.fixed = {path: _answer(document) for path, document in told.items()}
        if page:
            self.fixed["/"] = 200, [("content-type", "text/html; charset=utf-8")], page

    async def __call__(self, scope: Any, connection: Any) -> None:
        """Answer a request, whose body is what `connection` iterates over."""
        began, path = time.perf_counter(), scope.path.rstrip("/") or "/"
        try:
            answer = await self.answer(scope.method, path, scope.query_string, connection)
        except InputError as error:
            answer = _answer({"error": str(error)}, 400)
        except Exception:
            traceback.print_exc()
            answer = _answer({"error": "a fault of the server"}, 500)
        known = "other" if answer[0] == 404 else path
        self.seconds.labels(known, answer[0]).observe(time.perf_counter() - began)
        connection.response_bytes(*answer)

    async def answer(self, method: str, path: str, query: str, chunks: Any) -> Answer:
        """Answer a request, whose body comes in chunks; an `InputError` is for status 400."""
        fixed = self.fixed.get(path)
        if path == "/metrics":
            text = prometheus.generate_latest(self.registry)
            fixed = 200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], text
        if path not in self.posts and not fixed:
            return _answer({"error": f"there is no {show(path)}: see /openapi.json"}, 404)
        allowed = "GET, HEAD" if fixed else "POST"
        if method not in allowed.split(", "):
            error = f"{path} takes {allowed}, got {method}"
            return _answer({"error": error}, 405, ("allow", allowed))
        if fixed:
            return fixed
        post: Any = self.posts[path]
        if query and path == "/predict":
            post = partial(post, half_width=half_width("the query", query, self.intervals))
        body = bytearray()
        try:
            async with asyncio.timeout(PATIENCE):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > LONGEST_BODY:
                        error = f"the body must be at most {LONGEST_BODY:,} bytes"
                        return _answer({"error": error}, 413)
        except TimeoutError:
            return _answer({"error": f"the body must arrive within {PATIENCE} seconds"}, 408)
        return _answer(post(body, self.score))

    def score(self, rows: Sequence[protocol.Row]) -> list[Prediction]:
        """Return the predictions of some rows, and count them."""
        found = [self.scorer.predict(row, f"row {n}") for n, row in enumerate(rows, 1)]
        self.rows.inc(len(found))
        for each in found:
            for name in each.warnings:
                self.unlike.labels(name).inc()
        return found


def _answer(document: Any, status: int = 200, *headers: tuple[str, str]) -> Answer:
    return status, [("content-type", protocol.JSON), *headers], encode(document) + b"\n"
