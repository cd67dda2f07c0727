"""What the server answers, without a network: the application is called as ASGI has it."""

import asyncio
import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from stages.predictor import application
from stages.predictor.application import LONGEST_BODY, Application
from stages.predictor.openapi import openapi
from stages.predictor.protocol import MOST_ROWS
from tests.conftest import CAR, EXAMPLE, ROW

INFER = "/v2/models/predictor/infer"
TENSORS = [
    {"name": "fuel", "datatype": "BYTES", "shape": [2], "data": ["diesel", "coal"]},
    {"name": "new", "datatype": "BOOL", "shape": [2, 1], "data": [[True], [None]]},
    {"name": "seen", "datatype": "BYTES", "shape": [2, 1], "data": ["1970-01-31", "1970-01-31"]},
    {"name": "km", "datatype": "INT64", "shape": [2], "data": [2, 2]},
]
FIRST = 5 + 1 + 2.5 + 7 * 30 / 8 - 3.5
SECOND = 5 + 0 + 5 / 8 + 7 * 30 / 8 - 3.5
COAL = "fuel is 'coal', which training has not seen"

Answer = tuple[int, dict[bytes, bytes], bytes]


def asked(app: Application, method: str, path: str, *chunks: bytes, **fields: bytes) -> Answer:
    """Return status, headers and content of the answer to a request that comes in chunks."""
    left, sent = list(chunks or [b""]), []

    async def receive() -> Any:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    head = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    scope = {"type": "http", "method": method, "raw_path": path.encode(), "headers": head}
    asyncio.run(app(scope, receive, send))
    start, body = sent
    headers = dict(start["headers"])
    assert len(headers) == len(start["headers"])
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    return start["status"], headers, body["body"]


def posted(document: Any, path: str = "/predict", app: Application | None = None) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    status, headers, content = asked(app or Application(CAR), "POST", path, body)
    assert headers[b"content-type"] == b"application/json"
    assert content.count(b"\n") == 1
    return status, json.loads(content)


def test_a_row_gets_an_object_and_rows_an_array() -> None:
    coal = ROW | {"fuel": "coal", "new": None}
    second = {"prediction": SECOND, "warnings": [COAL]}
    assert posted(ROW) == (200, {"prediction": FIRST})
    assert posted([coal]) == (200, [second])
    assert posted([ROW, coal]) == (200, [{"prediction": FIRST}, second])
    assert posted([]) == (200, [])


def test_columns_are_taken_by_their_names_whatever_their_order() -> None:
    request = {"inputs": TENSORS[::-1], "id": "é", "outputs": [{"name": "prediction"}]}
    bare = {"inputs": TENSORS, "id": None, "outputs": None}
    data = [FIRST, SECOND]
    output = {"name": "prediction", "datatype": "FP64", "shape": [2], "data": data}
    assert posted(request, INFER) == (
        200,
        {
            "model_name": "predictor",
            "outputs": [output],
            "id": "é",
            "parameters": {"warnings": f"row 2: {COAL}"},
        },
    )
    extra = {"name": "colour", "datatype": "BYTES", "shape": [7], "data": "?"}
    assert posted({"inputs": [*TENSORS, extra]}, INFER)[1]["outputs"] == [output]
    assert "id" not in posted(bare, INFER + "/")[1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON: Expecting value"),
        (b"\xff", "the body is not JSON: 'utf-8' codec"),
        (b'{"km": NaN}', "the body is not JSON: it has NaN, a gap is null"),
        (b'[{"km": -Infinity}]', "the body is not JSON: it has -Infinity"),
        (b'{"km": 1, "km": 2}', "the body has an object with two equal names"),
        (b'{"km": 1} {}', "the body is not JSON: Extra data"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b'{"fuel": "x", "new": true, "seen": null, "km": %s}' % (b"1" * 5000), "row 1: km is inf"),
        (7, "row 1 is 7, must be an object of columns"),
        ([ROW, [ROW]], "row 2 is [{"),
        ({}, "row 1: column fuel is missing"),
        ([ROW, ROW | {"km": "x"}], "row 2: km is 'x', must be a finite number"),
        ([ROW] * (MOST_ROWS + 1), "a request has at most 1,000 rows, got 1,001"),
    ],
)
def test_a_bad_body_is_told_in_one_line(body: Any, message: str) -> None:
    status, answer = posted(body)
    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].startswith(message)
    assert len(answer["error"]) < 400


def tensors(index: int, **change: Any) -> Any:
    return {"inputs": [t | (change if i == index else {}) for i, t in enumerate(TENSORS)]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the body must be an object with an array of inputs"),
        ({"inputs": {}}, "the body must be an object with an array of inputs"),
        ({"inputs": []}, "there is no input fuel"),
        ({"inputs": [7]}, "an input must be an object with a name, got 7"),
        ({"inputs": [*TENSORS, TENSORS[0]]}, "two inputs are called fuel"),
        ({"inputs": TENSORS, "id": 7}, "id must be a text, got 7"),
        (tensors(0, parameters={"content_type": "base64"}), "fuel: texts must be texts"),
        ({"inputs": TENSORS, "outputs": 7}, "outputs must be an array of prediction, got 7"),
        ({"inputs": TENSORS, "outputs": [{"name": "x"}]}, "outputs must be an array of"),
        (tensors(3, datatype="BYTES"), "km: datatype must be FP64 or FP32 or"),
        (tensors(3, datatype=None), "km: datatype must be FP64 or FP32 or"),
        (tensors(3, data="22"), "km: data must be an array, got '22'"),
        (tensors(3, data=[2]), "km: shape must be [1] or [1, 1], got [2]"),
        (tensors(3, shape=[1, 2]), "km: shape must be [2] or [2, 1], got [1, 2]"),
        (tensors(3, data=[2], shape=[1]), "all inputs must have the same number of rows"),
        (tensors(3, data=[2, [2]]), "row 2: km is [2], must be a finite number"),
        (tensors(1, data=[[True], [False, 1]]), "row 2: new is [False, 1], must be true or false"),
    ],
)
def test_bad_tensors_are_told_in_one_line(document: Any, message: str) -> None:
    status, answer = posted(document, INFER)
    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].startswith(message)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("POST", "/v2/models/other/infer", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/predict", 405, b"POST"),
        ("POST", "/metrics", 405, b"GET, HEAD"),
        ("GET", "/v2%2fhealth/live", 404, None),
    ],
)
def test_other_paths_and_methods(method: str, path: str, status: int, allow: bytes | None) -> None:
    found, headers, content = asked(Application(CAR), method, path)
    assert (found, headers.get(b"allow")) == (status, allow)
    assert headers[b"connection"] == b"close"
    assert list(json.loads(content)) == ["error"]


def test_what_the_protocol_tells_of_server_and_model() -> None:
    app = Application(EXAMPLE)
    told = {
        "/v2": {"name": "predictor", "version": "4", "extensions": []},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/predictor/ready": {"name": "predictor", "ready": True},
        "/v2/models/predictor": {
            "name": "predictor",
            "platform": "linear-regression",
            "inputs": [
                {"name": "a", "datatype": "FP64", "shape": [-1]},
                {"name": 'b "é"', "datatype": "FP64", "shape": [-1]},
            ],
            "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [-1]}],
        },
    }
    for path, document in told.items():
        status, _, content = asked(app, "GET", path)
        assert (status, json.loads(content)) == (200, document)


def test_the_page_is_served_as_it_is() -> None:
    status, headers, content = asked(Application(CAR, b"<!doctype html>"), "GET", "/")
    assert (status, content) == (200, b"<!doctype html>")
    assert headers[b"content-type"] == b"text/html; charset=utf-8"


def test_a_body_that_is_too_long_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Application(CAR)
    half = b" " * (LONGEST_BODY // 2)
    assert asked(app, "POST", "/predict", half, half[:-2], b"{}")[0] == 400
    status, headers, _ = asked(app, "POST", "/predict", half, half, b" ", b"never read")
    assert (status, headers[b"connection"]) == (413, b"close")
    monkeypatch.setattr(application, "MOST_HELD", LONGEST_BODY // 2)
    assert asked(app, "POST", "/predict", half, b" ", b"never read")[0] == 503
    assert app.held == 0


def test_refusals_leave_nothing_in_memory() -> None:
    app, half = Application(CAR), bytes(LONGEST_BODY // 2)
    asked(app, "POST", "/predict", half, half, b" ", b"never read")
    tracemalloc.start()
    for _ in range(5):
        asked(app, "POST", "/predict", half, half, b" ", b"never read")
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < LONGEST_BODY


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"content_length": b"262145"}, 413, "the body must be at most 262,144 bytes"),
        ({"content_encoding": b"gzip"}, 415, "the body must have no content-encoding, got 'gzip'"),
        ({"inference_header_content_length": b"9"}, 400, "set binary_data=False in the client"),
    ],
)
def test_a_head_that_tells_of_what_cannot_be_read(
    fields: dict[str, bytes], status: int, message: str
) -> None:
    found, _, content = asked(Application(CAR), "POST", "/predict", b"never read", **fields)
    assert found == status
    assert message in json.loads(content)["error"]


def test_a_fault_of_the_server_is_not_told_to_the_client(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("a bug")

    app = Application(CAR)
    monkeypatch.setattr(app.scorer, "predict", fail)
    assert posted(ROW, app=app) == (500, {"error": "a fault of the server"})
    assert "LookupError: a bug" in capsys.readouterr().err


def counted(app: Application) -> dict[str, float]:
    """Return the samples of /metrics, as Prometheus's own parser reads them."""
    status, headers, content = asked(app, "GET", "/metrics")
    assert (status, headers[b"content-type"].split(b";")[0]) == (200, b"text/plain")
    families = text_string_to_metric_families(content.decode())
    samples = (sample for family in families for sample in family.samples)
    return {f"{s.name} {' '.join(s.labels.values())}".strip(): s.value for s in samples}


def test_metrics_count_requests_errors_rows_and_what_is_outside_the_training_range() -> None:
    app = Application(CAR)
    for document in (ROW, [ROW | {"km": 9}, ROW | {"km": 9, "fuel": "coal"}], {}):
        posted(document, app=app)
    asked(app, "GET", "/nothing/" + "x" * 1000)
    found = counted(app)
    assert found["predictor_requests_total /predict 200"] == 2
    assert found["predictor_requests_total /predict 400"] == 1
    assert found["predictor_requests_total other 404"] == 1
    assert found["predictor_rows_total"] == 3
    assert found["predictor_inputs_outside_training_total km"] == 2
    assert found["predictor_inputs_outside_training_total fuel"] == 1
    assert found["predictor_request_seconds_count /predict"] == 3
    assert found["process_resident_memory_bytes"] > 2**20


BODIES: Sequence[Any] = (
    ROW,
    [],
    [ROW, ROW | {"fuel": None}],
    {"fuel": "x"},
    ROW | {"km": "2"},
    ROW | {"seen": "soon"},
    ROW | {"new": 1},
    7,
)


@pytest.mark.parametrize("gaps", [True, False])
def test_the_description_allows_what_the_server_takes_and_nothing_else(gaps: bool) -> None:
    features = [f for f in CAR.features if gaps or not f.missing]
    if not gaps:
        features = [replace(f, fill=None) for f in features]
    model = replace(CAR, missing="mean" if gaps else "fail", features=tuple(features))
    paths = openapi(model)["paths"]
    cases = [("/predict", body) for body in BODIES]
    cases += [(INFER, tensors(1, data=data)) for data in ([True, False], [None, [False]], [[], 1])]
    cases += [(INFER, tensors(3, datatype="BOOL")), (INFER, {"inputs": 7})]
    for path, body in cases:
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        valid = jsonschema.Draft202012Validator(schema).is_valid(body)
        status, _ = posted(body, path, Application(model))
        assert valid is (status == 200), body
