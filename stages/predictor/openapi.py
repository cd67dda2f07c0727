"""The description of the server by OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.0.html."""

from typing import Any

from stages.columns.inputs import MOMENT
from stages.predictor.document import VERSION, Predictor
from stages.predictor.protocol import ABOUT, DATATYPES, MOST_ROWS, OUTPUT, documents

JSON = "application/json"
NAME, OBJECT = {"type": "string"}, {"type": "object"}
TYPES: dict[str, dict[str, Any]] = {
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "pattern": f"^(?:{MOMENT.pattern})$"},
    "text": {"type": "string", "minLength": 1},
}


def openapi(model: Predictor) -> Any:
    """Return the document.

    Its schemas allow all that the server takes, and else only dates that do not exist, numbers
    without an end, and tensors whose shape is not that of their data.
    """
    kinds = model.schema.kinds
    values = {name: _value(kind, model.missing == "mean") for name, kind in kinds.items()}
    row = _object(values)
    answer = _object({OUTPUT: {"type": "number"}}, warnings=_array(NAME))
    tensors = [
        _object(
            {
                "name": {"const": name},
                "datatype": {"enum": DATATYPES[kinds[name]]},
                "shape": _array({"type": "integer"}),
                "data": _array({"anyOf": [value, _array(value, minItems=1, maxItems=1)]}),
            }
        )
        for name, value in values.items()
    ]
    infer = _object(
        {"inputs": _array({"anyOf": tensors})},
        id=NAME | {"type": ["string", "null"]},
        outputs=_array(_object({"name": {"const": OUTPUT}})) | {"type": ["array", "null"]},
    )
    gets = {path: _get(summary) for path, (summary, _) in documents(kinds).items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{model.target}: linear regression, {model.bits}-bit weights",
            "description": f"Trained on {model.dataset}; predicts {model.target}, in {model.unit}.",
            "version": str(VERSION),
        },
        "paths": {
            "/predict": _post("Predict rows", _one_or_many(row), _one_or_many(answer)),
            f"{ABOUT}/infer": _post("Predict columns, as tensors", infer, OBJECT),
            **gets,
            "/metrics": _get("Counters for Prometheus", {"type": "string"}, "text/plain"),
            "/openapi.json": _get("This document"),
        },
    }


def _value(kind: str, filled: bool) -> Any:
    """Return the schema of a value; where gaps are filled, it may be null, or an empty text."""
    schema = TYPES[kind]
    if not filled:
        return schema
    allowed = {key: value for key, value in schema.items() if key != "minLength"}
    return allowed | {"type": [schema["type"], "null"]}


def _object(required: dict[str, Any], **optional: Any) -> Any:
    return {"type": "object", "required": [*required], "properties": required | optional}


def _one_or_many(schema: Any) -> Any:
    return {"anyOf": [schema, _array(schema, maxItems=MOST_ROWS)]}


def _array(items: Any, **limits: int) -> Any:
    return {"type": "array", "items": items} | limits


def _answer(description: str, schema: Any, kind: str = JSON) -> Any:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _get(summary: str, schema: Any = OBJECT, kind: str = JSON) -> Any:
    return {"get": {"summary": summary, "responses": {"200": _answer(summary, schema, kind)}}}


def _post(summary: str, asked: Any, answered: Any) -> Any:
    refused = _answer("One line says why", _object({"error": NAME}))
    responses = {"200": _answer(summary, answered), "4XX": refused}
    body = {"required": True, "content": {JSON: {"schema": asked}}}
    return {"post": {"summary": summary, "requestBody": body, "responses": responses}}
