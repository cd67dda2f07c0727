"""What the server reads and answers: plain rows, and the Open Inference Protocol, version 2.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from stages.predictor.document import VERSION
from stages.predictor.rows import Prediction
from stages.project.cli import InputError
from stages.project.text import named, shown

MODEL = "predictor"  # the name of the artifact in dvc.yaml
ABOUT = f"/v2/models/{MODEL}"
OUTPUT = "prediction"
MOST_ROWS = 1000  # of a request
NUMBERS = ("FP64", "FP32", "FP16", *(f"{u}INT{n}" for u in ("", "U") for n in (64, 32, 16, 8)))
DATATYPES = {"number": NUMBERS, "boolean": ("BOOL",), "date": ("BYTES",), "text": ("BYTES",)}

MANY, ONE = Meta(max_length=MOST_ROWS), Meta(min_length=1, max_length=1)
Row = dict[str, Any]  # whose values the model checks
Value = float | bool | str | None
Kinds = Mapping[str, str]  # of columns
Score = Callable[[Sequence[Row]], Sequence[Prediction]]


class Answer(Struct, omit_defaults=True):
    """The answer to a plain row."""

    prediction: float
    warnings: list[str] = []


class Tensor(Struct, omit_defaults=True):
    """A column of shape [n] or [n, 1]."""

    name: str
    shape: list[int]
    datatype: str
    data: Annotated[Sequence[Value | Annotated[list[Value], ONE]], MANY]
    parameters: dict[str, Any] | None = None


class Output(Struct):
    """An output that the client asks for."""

    name: Literal["prediction"]


class InferRequest(Struct):
    """The columns of some rows."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[Output] | None = None


def decode(body: bytearray, kind: Any) -> Any:
    """Read JSON as a declared type; of two equal names in an object, the last one counts."""
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError as error:
        raise InputError("the body is nested too deeply") from error
    except ValueError as error:  # as of text that is not UTF-8
        raise InputError(f"the body: {error}") from error


def predict(body: bytearray, kinds: Kinds, score: Score) -> Any:
    """Answer a row, which is an object of columns, with an object, and an array with an array."""
    rows = decode(body, Row | Annotated[list[Row], MANY])
    predictions = score(rows if isinstance(rows, list) else [rows])
    answers = [Answer(each.value, [*each.warnings.values()]) for each in predictions]
    return answers if isinstance(rows, list) else answers[0]


def infer(body: bytearray, kinds: Kinds, score: Score) -> Any:
    """Answer an inference request, which has a tensor for each column."""
    request = decode(body, InferRequest)
    tensors = [tensor for tensor in request.inputs if tensor.name in kinds]
    columns = {tensor.name: flatten(tensor, kinds[tensor.name]) for tensor in tensors}
    if len(columns) < len(tensors):
        raise InputError("two inputs have the same name")
    if missing := [name for name in kinds if name not in columns]:
        raise InputError(f"there is no input {named(missing[0])}")
    if len({*map(len, columns.values())}) > 1:
        raise InputError("all inputs must have the same number of rows")
    rows = zip(*columns.values(), strict=True)
    predictions = score([dict(zip(columns, row, strict=True)) for row in rows])
    data = [each.value for each in predictions]
    warnings = [
        f"row {index}: {warning}"
        for index, each in enumerate(predictions, 1)
        for warning in each.warnings.values()
    ]  # as one text, since a parameter can be no array
    return (
        {"model_name": MODEL, "outputs": [Tensor(OUTPUT, [len(data)], "FP64", data)]}
        | ({"id": request.id} if request.id is not None else {})
        | ({"parameters": {"warnings": "\n".join(warnings)}} if warnings else {})
    )


def flatten(tensor: Tensor, kind: str) -> list[Value]:
    """Return the values of a tensor, which must fit a column of this kind."""
    n, allowed = len(tensor.data), DATATYPES[kind]
    if tensor.datatype not in allowed:
        mistake = f"datatype must be {' or '.join(allowed)}, got {shown(tensor.datatype)}"
    elif tensor.shape not in ([n], [n, 1]):
        mistake = f"shape must be [{n}] or [{n}, 1], got {shown(tensor.shape)}"
    elif (tensor.parameters or {}).get("content_type") == "base64":  # MLServer's
        mistake = "texts must be texts, not base64"
    else:
        return [each[0] if isinstance(each, list) else each for each in tensor.data]
    raise InputError(f"{named(tensor.name)}: {mistake}")


def describe(kinds: Kinds) -> Mapping[str, Any]:
    """Return what the protocol tells of server and model, by path."""
    inputs = [
        {"name": name, "datatype": DATATYPES[kinds[name]][0], "shape": [-1]} for name in kinds
    ]
    outputs = [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}]
    about = {"name": MODEL, "platform": "linear-regression", "inputs": inputs, "outputs": outputs}
    return {
        "/v2": {"name": MODEL, "version": str(VERSION), "extensions": []},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        ABOUT: about,
        f"{ABOUT}/ready": {"name": MODEL, "ready": True},
    }
