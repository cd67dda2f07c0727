"""The description of the server by OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.0.html."""

from typing import Annotated, Any, TypedDict

from msgspec import Meta
from msgspec.json import schema_components

from stages.columns.inputs import MOMENT
from stages.predictor.document import VERSION, Predictor
from stages.predictor.protocol import ABOUT, MANY, Answer, InferRequest, describe

JSON = "application/json"
TYPES: dict[str, Any] = {
    "number": float,
    "boolean": bool,
    "date": Annotated[str, Meta(pattern=f"^(?:{MOMENT.pattern})$")],
    "text": Annotated[str, Meta(min_length=1)],
}


def openapi(model: Predictor) -> Any:
    """Return the document, whose schemas allow all that the server takes.

    They also allow dates that do not exist, numbers without an end, and any tensors.
    """
    kinds = model.schema.kinds
    types = TYPES
    if model.missing == "mean":  # gaps are filled, and the empty text is one
        types = {kind: each | None for kind, each in (TYPES | {"text": str}).items()}
    columns = {name: types[kind] for name, kind in kinds.items()}
    row: Any = TypedDict("Row", columns)  # type: ignore[misc]
    bodies, components = schema_components(
        [row | Annotated[list[row], MANY], Answer | list[Answer], InferRequest],
        ref_template="#/components/schemas/{name}",
    )
    rows, answers, request = bodies
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{model.target}: linear regression, {model.bits}-bit weights",
            "description": f"Trained on {model.dataset}; predicts {model.target}, in {model.unit}.",
            "version": str(VERSION),
        },
        "paths": {
            "/predict": _post(rows, answers),
            f"{ABOUT}/infer": _post(request, {"type": "object"}),
            **dict.fromkeys(describe(kinds), _get("What the Open Inference Protocol has here")),
            "/metrics": _get("Counters for Prometheus"),
            "/openapi.json": _get("This document"),
        },
        "components": {"schemas": components},
    }


def _get(description: str) -> Any:
    return {"get": {"responses": {"200": {"description": description}}}}


def _post(asked: Any, answered: Any) -> Any:
    answers = {
        "200": {"description": "The predictions", "content": {JSON: {"schema": answered}}},
        "4XX": {"description": "An object, whose error says in one line what is wrong"},
    }
    body = {"required": True, "content": {JSON: {"schema": asked}}}
    return {"post": {"requestBody": body, "responses": answers}}
