"""What the server answers, without a network: the application is called as RSGI has it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from stages.columns.inputs import Input
from stages.predictor.application import LONGEST_BODY, Application
from stages.predictor.document import Intercept
from stages.predictor.protocol import describe
from tests.conftest import CAR, EXAMPLE, ROW, feature

INFER = "/v2/models/predictor/infer"
TENSORS = [
    {"name": "fuel", "datatype": "BYTES", "shape": [2], "data": ["diesel", "coal"]},
    {"name": "new", "datatype": "BOOL", "shape": [2, 1], "data": [True, None]},
    {"name": "seen", "datatype": "BYTES", "shape": [2, 1], "data": ["1970-01-31", "1970-01-31"]},
    {"name": "km", "datatype": "INT64", "shape": [2], "data": [2, 2]},
]
ONE = {"name": "input-0", "datatype": "FP64", "shape": [2, 4], "data": [0.0] * 8}
FIRST = 5 + 1 + 2.5 + 7 * 30 / 8 - 3.5
SECOND = 5 + 0 + 5 / 8 + 7 * 30 / 8 - 3.5
HALF_WIDTHS = {"0.5": 0.0, "0.9": 0.1}  # the first of a perfect fit
COAL = "fuel is 'coal', which training has not seen"

Answer = tuple[int, dict[str, str], bytes]


class Connection:
    """What RSGI gives an application: an iterable body, and a way to answer."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks, self.answers = [*chunks], list[Answer]()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.chunks:
            yield self.chunks.pop(0)

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert len(dict(headers)) == len(headers)
        self.answers.append((status, dict(headers), body))


def request(app: Application, method: str, path: str, *chunks: bytes) -> Answer:
    """Return status, headers and content of the answer to a request that comes in chunks."""
    connection, (path, _, query) = Connection(chunks), path.partition("?")
    asyncio.run(app(SimpleNamespace(method=method, path=path, query_string=query), connection))
    [answer] = connection.answers
    return answer


def post(document: Any, path: str = "/predict", app: Application | None = None) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    status, headers, content = request(app or Application(CAR), "POST", path, body)
    assert headers["content-type"] == "application/json"
    assert content.count(b"\n") == 1
    return status, json.loads(content)


def test_a_row_gets_an_object_and_rows_an_array() -> None:
    coal = ROW | {"fuel": "coal", "new": None}
    second = {"prediction": SECOND, "warnings": [COAL]}
    assert post(ROW) == (200, {"prediction": FIRST})
    assert post([coal]) == (200, [second])
    assert post([ROW, coal]) == (200, [{"prediction": FIRST}, second])
    assert post([]) == (200, [])


def test_an_interval_is_asked_for_by_the_query() -> None:
    app = Application(CAR, half_widths=HALF_WIDTHS)
    coal = ROW | {"fuel": "coal", "new": None}
    for level, half in HALF_WIDTHS.items():
        first, second = (
            {"prediction": p, "low": p - half, "high": p + half} for p in (FIRST, SECOND)
        )
        path = f"/predict?interval={level}"
        assert post(ROW, path, app) == (200, first)
        assert post([ROW, coal], path, app) == (200, [first, second | {"warnings": [COAL]}])
    for path in ("/predict", "/predict?", "/predict/?"):
        assert post(ROW, path, app) == (200, {"prediction": FIRST})


@pytest.mark.parametrize(
    "query",
    ["interval", "interval=", "interval=0.7", "interval=0.9&x=1", "x=1", "0.9", "Interval=0.9"],
)
def test_another_query_is_told_what_is_allowed(query: str) -> None:
    status, answer = post(ROW, f"/predict?{query}", Application(CAR, half_widths=HALF_WIDTHS))
    assert (status, [*answer]) == (400, ["error"])
    for words in (query, "interval=0.5", "interval=0.9"):
        assert words in answer["error"]
    status, answer = post(ROW, f"/predict?{query}")
    assert (status, [*answer]) == (400, ["error"])
    assert "no half-widths" in answer["error"]


def test_tensors_are_taken_by_their_names_whatever_their_order() -> None:
    extra = {"name": "colour", "datatype": "BYTES", "shape": [2], "data": ["?", "!"]}
    full = {"inputs": [*TENSORS[::-1], extra], "id": "é", "outputs": [{"name": "prediction"}]}
    output = {"name": "prediction", "datatype": "FP64", "shape": [2], "data": [FIRST, SECOND]}
    answer = {"model_name": "predictor", "outputs": [output]}
    assert post(full, INFER) == (200, answer | {"id": "é"})
    assert post({"inputs": TENSORS, "id": None}, INFER + "/") == (200, answer)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body: Input data was truncated"),
        (b'{"km": "\xff"}', "the body: 'utf-8' codec"),
        (b'[{"km": -NaN}]', "the body: JSON is malformed"),
        (b'[{"km": NaNs}]', "the body: JSON is malformed"),
        (b'[{"km": Infinity}]', "the body: JSON is malformed"),
        (b'{"km": NaN, "fuel', "the body: Input data was truncated"),
        (b'{"km": 1e999}', "the body: Number out of range"),
        (b'{"km": %s}' % (b"1" * 5000), "the body: Integer value out of range"),
        (b'{"km": 1} {}', "the body: JSON is malformed"),
        (b'{"km": %s' % (b"[" * 100_000), "the body: maximum recursion depth"),
        (7, "the body: Expected `object | array`, got `int`"),
        ([ROW, [ROW]], "the body: Expected `object`, got `array` - at `$[1]`"),
        ([ROW] * 1001, "the body: Expected `array` of length <= 1000"),
        ([ROW, ROW | {"km": 10**309}], "row 2: km is 1000"),
        ({}, "row 1: column fuel is missing"),
    ],
)
def test_a_bad_body_is_told_in_one_line(body: Any, message: str) -> None:
    status, answer = post(body)
    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].startswith(message)
    assert len(answer["error"]) < 400


def tensors(index: int, **change: Any) -> Any:
    return {"inputs": [t | (change if i == index else {}) for i, t in enumerate(TENSORS)]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"inputs": {}}, "the body: Expected `array`, got `object` - at `$.inputs`"),
        ({"inputs": []}, "the body: Expected `array` of length >= 1"),
        ({"inputs": TENSORS[1:]}, "row 1: column fuel is missing"),
        ({"inputs": [*TENSORS, TENSORS[3]]}, "km: there are two tensors of this name"),
        ({"inputs": TENSORS, "id": 7}, "the body: Expected `str | null`, got `int` - at `$.id`"),
        (tensors(3, data=[2]), "km: shape must be [rows] or [rows, 1] for each of fuel, new,"),
        (tensors(3, shape=[1, 2]), "km: shape must be [rows] or [rows, 1] for each of fuel, new,"),
        (tensors(3, data=[2], shape=[1]), "km: shape must be [rows] or [rows, 1]"),
        (tensors(3, data=[[2, 2]]), "km: shape must be [rows] or [rows, 1]"),
        (tensors(3, data=[[[2], 2]]), "the body: Expected `bool | float | str | null`"),
        (tensors(3, shape=[]), "the body: Expected `array` of length >= 1"),
        (tensors(3, shape=[2, 1, 1]), "the body: Expected `array` of length <= 2"),
        (tensors(3, shape=[1001]), "the body: Expected `int` <= 1000"),
        (tensors(3, shape=[-1]), "the body: Expected `int` >= 0"),
        (
            {"inputs": [ONE]},
            "input-0: shape must be [rows] or [rows, 1] for each of fuel, new, seen, km",
        ),
        (tensors(3, data=[2, "2"]), "row 2: km is '2', must be a finite number"),
        (tensors(1, data=[[True], False]), "row 1: new is [True], must be true or false"),
        (tensors(1, data=[2, True]), "row 1: new is 2.0, must be true or false"),
    ],
)
def test_bad_tensors_are_told_in_one_line(document: Any, message: str) -> None:
    status, answer = post(document, INFER)
    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].startswith(message)


YES = Input("yes", "boolean", fill=0.25)
NUMBERS = replace(EXAMPLE, features=(*EXAMPLE.features, feature(YES, 0.0, 1.0, 3, 0)))
NAMES = [*NUMBERS.schema.kinds]


@given(
    st.lists(st.tuples(*[st.floats(-1e9, 1e9)] * 2, st.booleans()), max_size=20),
    st.sampled_from(["nested", "flat", "numbers", "numpy"]),
)
def test_one_tensor_has_all_columns_in_their_order(rows: list[Any], form: str) -> None:
    data: Any = [[*row] for row in rows] if form == "nested" else [x for row in rows for x in row]
    if form == "numbers":
        data = [float(x) for x in data]
    if form == "numpy":  # which makes one type of all
        data = np.array(rows, float).reshape(-1, 3).tolist()
    one = {"name": "input-0", "shape": [len(rows), 3], "datatype": "FP64", "data": data}
    status, answer = post({"inputs": [one]}, INFER, Application(NUMBERS))
    objects = [dict(zip(NAMES, row, strict=True)) for row in rows]
    expected = [each["prediction"] for each in post(objects, app=Application(NUMBERS))[1]]
    assert (status, answer["outputs"][0]["data"]) == (200, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"shape": [3, 2]},
            'input-0: shape must be [rows, 3] for a, b "é", yes, and data of this shape',
        ),
        ({"shape": [3]}, "input-0: shape must be [rows] or [rows, 1] for"),
        ({"data": [[1, 2, 1], [1, 2]]}, "input-0: shape must be [rows, 3] for"),
        ({"data": [[1, 2], [1, 1], [2, 1]]}, "input-0: shape must be [rows, 3] for"),
        ({"data": [1] * 5}, "input-0: shape must be [rows, 3] for"),
        ({"data": []}, "input-0: shape must be [rows, 3] for"),
        ({"data": [1, 2, 1, 1, 2, 2]}, "row 2: yes is 2.0, must be true or false"),
        ({"data": [True, 2, 1, 1, 2, 1]}, "row 1: a is True, must be a finite number"),
        ({"data": [None, 2, 1, 1, 2, 1]}, "row 1: a is empty, must be a finite number"),
        ({"name": "a"}, "a: shape must be [rows] or [rows, 1] for each of a, b"),
    ],
)
def test_a_bad_tensor_of_all_columns_is_told_in_one_line(change: Any, message: str) -> None:
    one = {"name": "input-0", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 1] * 2}
    assert post({"inputs": [one]}, INFER, Application(NUMBERS))[0] == 200
    status, answer = post({"inputs": [one | change]}, INFER, Application(NUMBERS))
    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].startswith(message)


def test_the_only_column_may_be_a_matrix_of_any_name() -> None:
    app = Application(replace(EXAMPLE, features=EXAMPLE.features[:1]))
    one = {"name": "input-0", "shape": [1], "datatype": "FP64", "data": [2]}
    for change in ({"name": "a"}, {"name": "a", "shape": [1, 1]}, {"shape": [1, 1]}):
        answer = post({"inputs": [one | change]}, INFER, app)
        assert answer[1]["outputs"][0]["data"] == [13 / 4 + 1]
    # else a column that is misspelt would be taken for it
    assert post({"inputs": [one]}, INFER, app)[1] == {"error": "row 1: column a is missing"}


def test_nan_is_a_gap_where_it_is_no_text() -> None:
    gap = {"prediction": FIRST + 3.5 - 7 * 1.5 / 4}
    assert post(b'{"fuel": "diesel", "new": true, "seen": "1970-01-31", "km": NaN}') == (200, gap)
    row = rb'{"NaN": 1, "fuel": "\\\"NaN", "new": NaN, "seen": "1970-01-31", "km": 2}'
    warning = "fuel is '\\\\\"NaN', which training has not seen"
    assert post(row) == (200, {"prediction": SECOND, "warnings": [warning]})
    one = b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, NaN, NaN]}]}'
    message = 'row 1: b "é" is empty, must be a finite number'
    assert post(one, INFER, Application(NUMBERS)) == (400, {"error": message})


@pytest.mark.parametrize("text", [b'"NaN ', b'"\\"', b'NaN "\\'])
def test_a_body_without_its_end_is_read_once(text: bytes) -> None:
    assert post(b"[NaN, " + text * (200_000 // len(text)))[0] == 400  # not in minutes


def test_other_paths_and_methods() -> None:
    for method, path, status, allow in (
        ("POST", "/v2/models/other/infer", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/predict", 405, "POST"),
        ("POST", "/metrics", 405, "GET, HEAD"),
    ):
        found, headers, content = request(Application(CAR), method, path)
        assert (found, headers.get("allow")) == (status, allow)
        assert list(json.loads(content)) == ["error"]


def test_what_the_protocol_tells_of_server_and_model() -> None:
    app = Application(EXAMPLE)
    told = {
        "/v2": {"name": "predictor", "version": "5", "extensions": []},
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
        status, _, content = request(app, "GET", path)
        assert (status, json.loads(content)) == (200, document)


def test_the_page_is_served_as_it_is() -> None:
    answer = request(Application(CAR, b"<!doctype html>"), "GET", "/")
    assert answer == (200, {"content-type": "text/html; charset=utf-8"}, b"<!doctype html>")


def test_a_body_that_is_too_long_is_not_read_to_its_end() -> None:
    half = b" " * (LONGEST_BODY // 2)
    assert request(Application(CAR), "POST", "/predict", half, half[:-2], b"{}")[0] == 400
    connection = Connection([half, half, b" ", b"never read"])
    scope = SimpleNamespace(method="POST", path="/predict", query_string="")
    asyncio.run(Application(CAR)(scope, connection))
    assert [status for status, *_ in connection.answers] == [413]
    assert connection.chunks == [b"never read"]


DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})\.[0-9]{1,25}(e-?[0-9]{1,2})?", fullmatch=True)


@given(st.integers().map(str) | st.floats(-1e300, 1e300).map(repr) | DIGITS)
def test_numbers_are_read_to_the_last_bit(text: str) -> None:
    model = replace(EXAMPLE, intercept=Intercept(0, 0))
    status, answer = post(f'{{"a": {text}, "b \\"é\\"": 0}}'.encode(), app=Application(model))
    assert (status, answer["prediction"]) == (200, float(text) / 2)


@given(st.data())
def test_a_broken_body_gets_one_line(data: st.DataObject) -> None:
    body = json.dumps(data.draw(st.sampled_from([ROW, [ROW, ROW], tensors(0)]))).encode()
    start, end = sorted(data.draw(st.lists(st.integers(0, len(body)), min_size=2, max_size=2)))
    odd = st.binary() | st.sampled_from(
        [b"null", b"NaN", b"1e999", b"[" * 300, b'"\\ud800"', b"{}"]
    )
    for path in ("/predict", INFER):
        status, answer = post(body[:start] + data.draw(odd) + body[end:], path)
        assert status == 200 or (status == 400 and list(answer) == ["error"])


def test_a_fault_of_the_server_is_not_told_to_the_client(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Application(CAR)
    monkeypatch.setattr(app, "scorer", None)
    assert post(ROW, app=app) == (500, {"error": "a fault of the server"})
    assert "AttributeError" in capsys.readouterr().err


def test_metrics_count_requests_errors_rows_and_what_is_outside_the_training_range() -> None:
    app = Application(CAR)
    for document in (ROW, [ROW | {"km": 9}, ROW | {"km": 9, "fuel": "coal"}], {}):
        post(document, app=app)
    request(app, "GET", "/nothing/" + "x" * 1000)
    status, headers, content = request(app, "GET", "/metrics")
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    families = text_string_to_metric_families(content.decode())  # Prometheus's own parser
    samples = (sample for family in families for sample in family.samples)
    found = {f"{s.name} {' '.join(s.labels.values())}".strip(): s.value for s in samples}
    assert found["predictor_request_seconds_count /predict 200"] == 2
    assert found["predictor_request_seconds_count /predict 400"] == 1
    assert found["predictor_request_seconds_count other 404"] == 1
    assert found["predictor_rows_total"] == 3
    assert found["predictor_inputs_outside_training_total km"] == 2
    assert found["predictor_inputs_outside_training_total fuel"] == 1
    assert found["process_resident_memory_bytes"] > 2**20


def test_the_description_has_the_levels_and_the_fields_of_an_interval() -> None:
    document = describe(CAR, HALF_WIDTHS)["/openapi.json"]
    operation = document["paths"]["/predict"]["post"]
    [interval] = operation["parameters"]
    assert (interval["name"], interval["in"]) == ("interval", "query")
    assert interval["schema"] == {"enum": ["0.5", "0.9"]}
    answers = operation["responses"]["200"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator(answers | {"components": document["components"]})
    app = Application(CAR, half_widths=HALF_WIDTHS)
    for path in ("/predict", "/predict?interval=0.9"):
        for body in (ROW, [ROW, ROW]):
            assert validator.is_valid(post(body, path, app)[1])
    assert not validator.is_valid({"prediction": 1, "low": None})
    assert not describe(CAR)["/openapi.json"]["paths"]["/predict"]["post"]["parameters"]


BODIES: Sequence[Any] = ROW, [], [ROW, ROW | {"fuel": None}], {"fuel": "x"}, 7
ODD: Sequence[Any] = {"km": "2"}, {"seen": "soon"}, {"new": 1}


@pytest.mark.parametrize("gaps", [True, False])
def test_the_description_allows_what_the_server_takes_and_nothing_else(gaps: bool) -> None:
    features = [f if gaps else replace(f, fill=None) for f in CAR.features if gaps or not f.missing]
    model = replace(CAR, missing="mean" if gaps else "fail", features=tuple(features))
    document = describe(model)["/openapi.json"]
    cases = [("/predict", body) for body in (*BODIES, *(ROW | odd for odd in ODD))]
    cases += [
        (INFER, tensors(1, data=data))
        for data in ([True, False], [[True], [False]], [[[True]], False])
    ]
    cases += [(INFER, tensors(3, shape="2")), (INFER, {"inputs": 7})]
    for path, body in cases:
        asked = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        schema = asked["schema"] | {"components": document["components"]}
        valid = jsonschema.Draft202012Validator(schema).is_valid(body)
        status, _ = post(body, path, Application(model))
        assert valid is (status == 200), body
