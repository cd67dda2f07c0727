"""What the server reads and answers, and its description by OpenAPI 3.1.

It takes plain rows, and the tensors of the Open Inference Protocol, version 2:
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from msgspec import UNSET, Meta, Struct, UnsetType, json

from stages.columns.readings import MOMENT
from stages.predictor.document import VERSION, Predictor
from stages.predictor.rows import Prediction
from stages.project.cli import InputError
from stages.project.text import join, label, show

MODEL = "predictor"  # the name of the artifact in dvc.yaml
ABOUT = f"/v2/models/{MODEL}"
OUTPUT = "prediction"
JSON = "application/json"
DATATYPES = {"number": "FP64", "boolean": "BOOL", "date": "BYTES", "text": "BYTES"}
DATE = Annotated[str, Meta(pattern=f"^(?:{MOMENT.pattern})$")]
TYPES: dict[str, Any] = {"number": float, "boolean": bool, "date": DATE, "text": str}

MANY = 1000  # rows of a request
BARE_NAN = re.compile(rb'(?s)("(?:[^"\\]|\\.)*+"?)|NaN')  # or a text, which may have NaN in it
Row = dict[str, Any]  # whose values the model checks
Score = Callable[[Sequence[Row]], Sequence[Prediction]]


class Answer(Struct, omit_defaults=True):
    """The answer to a plain row; the share `interval` of new rows lies between low and high."""

    prediction: float
    low: float | UnsetType = UNSET
    high: float | UnsetType = UNSET
    warnings: list[str] = []


class Tensor(Struct):
    """A column of shape [n] or [n, 1], or all columns, in their order, of shape [n, columns]."""

    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0, le=MANY)]], Meta(min_length=1, max_length=2)]
    datatype: str
    data: list[float | bool | str | list[float | bool | str | None] | None]


class InferRequest(Struct):
    """A tensor for each column, or one for all if these are numbers or booleans."""

    inputs: Annotated[list[Tensor], Meta(min_length=1)]
    id: str | None = None


def decode(body: bytearray, kind: Any) -> Any:
    """Read JSON as a declared type; of two equal names in an object, the last one counts."""
    try:
        if b"NaN" in body:  # which JSON has not, but Python and tritonclient write it for a gap
            body[:] = BARE_NAN.sub(lambda found: found[1] or b"null", body)
        return json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:  # as of text that is not UTF-8
        raise InputError(f"the body: {error}") from error


def predict(body: bytearray, score: Score, half_width: float | None = None) -> Any:
    """Answer a row, which is an object of columns, with an object, and an array with an array."""
    rows = decode(body, Row | Annotated[list[Row], Meta(max_length=MANY)])
    predictions = score(rows if isinstance(rows, list) else [rows])
    answers = [Answer(each.value, warnings=[*each.warnings.values()]) for each in predictions]
    if half_width is not None:
        for each in answers:
            each.low, each.high = each.prediction - half_width, each.prediction + half_width
    return answers if isinstance(rows, list) else answers[0]


def infer(body: bytearray, score: Score, kinds: Mapping[str, str]) -> Any:
    """Answer an inference request; in a column of booleans, 0 and 1 are these too."""
    request = decode(body, InferRequest)
    first, *others = request.inputs
    is_whole = not (others or first.name in kinds or {"date", "text"} & {*kinds.values()})
    is_whole = is_whole and len(first.shape) == 2
    n, columns = first.shape[0], dict[str, list[Any]]()
    for tensor in request.inputs:
        if tensor.name in columns:
            raise InputError(f"{label(tensor.name)}: there are two tensors of this name")
        names, data = [*kinds] if is_whole else [tensor.name], tensor.data
        m, is_nested = len(names), all(isinstance(each, list) for each in data)
        rows: Any = data if is_nested else [data[i : i + m] for i in range(0, len(data), m)]
        if [*tensor.shape, 1][:2] != [n, m] or [*map(len, rows)] != [m] * n:
            shape = f"[rows, {m}] for" if is_whole else "[rows] or [rows, 1] for each of"
            what = f"shape must be {shape} {join([*kinds])}, and data of this shape"
            raise InputError(f"{label(tensor.name)}: {what}, got {show(tensor.shape)}")
        for name, column in zip(names, zip(*rows, strict=True), strict=False):
            is_bool = kinds.get(name) == "boolean"
            columns[name] = [x == 1 if is_bool and x in (0, 1) else x for x in column]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    output = Tensor(OUTPUT, [n], "FP64", [each.value for each in score(rows)])
    answer = {"model_name": MODEL, "outputs": [output]}
    return answer if request.id is None else answer | {"id": request.id}


def describe(model: Predictor, levels: Collection[str] = ()) -> Mapping[str, Any]:
    """Return what the server tells of itself, the model and the levels of intervals, by path.

    The schemas allow all that the server takes, and more: empty texts, any dates and tensors.
    """
    kinds = model.schema.kinds
    inputs = [{"name": name, "datatype": DATATYPES[k], "shape": [-1]} for name, k in kinds.items()]
    outputs = [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}]
    about = {"name": MODEL, "platform": "linear-regression", "inputs": inputs, "outputs": outputs}
    told = {
        "/v2": {"name": MODEL, "version": str(VERSION), "extensions": []},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        ABOUT: about,
        f"{ABOUT}/ready": {"name": MODEL, "ready": True},
    }
    columns = {name: TYPES[kind] for name, kind in kinds.items()}
    if model.missing == "mean":  # gaps are filled
        columns = {name: each | None for name, each in columns.items()}
    row: Any = TypedDict("Row", columns)  # type: ignore[misc]
    (rows, answers, request), components = json.schema_components(
        [row | Annotated[list[row], Meta(max_length=MANY)], Answer | list[Answer], InferRequest],
        ref_template="#/components/schemas/{name}",
    )
    predict = _post(rows, answers, levels)
    got = {"get": {"responses": {"200": {"description": "What the path says"}}}}
    openapi = {
        "openapi": "3.1.0",
        "info": {
            "title": f"{model.target}: linear regression, {model.bits}-bit weights",
            "description": f"Trained on {model.dataset}; predicts {model.target}.",
            "version": str(VERSION),
        },
        "paths": dict.fromkeys((*told, "/metrics", "/openapi.json"), got)
        | {"/predict": predict, f"{ABOUT}/infer": _post(request, {"type": "object"})},
        "components": {"schemas": components},
    }
    return {**told, "/openapi.json": openapi}


def _post(asked: Any, answered: Any, levels: Collection[str] = ()) -> Any:
    asks = [{"name": "interval", "in": "query", "schema": {"enum": [*levels]}}] if levels else []
    answers = {
        "200": {"description": "The predictions", "content": {JSON: {"schema": answered}}},
        "4XX": {"description": "An object, whose error says in one line what is wrong"},
    }
    body = {"required": True, "content": {JSON: {"schema": asked}}}
    return {"post": {"parameters": asks, "requestBody": body, "responses": answers}}
