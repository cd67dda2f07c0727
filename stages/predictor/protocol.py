"""What the server reads and answers: plain rows, and the Open Inference Protocol, version 2.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from stages.predictor.document import VERSION
from stages.predictor.rows import Prediction
from stages.project.cli import InputError
from stages.project.text import named, shown

MODEL = "predictor"  # the name of the artifact in dvc.yaml
ABOUT = f"/v2/models/{MODEL}"
OUTPUT = "prediction"
MOST_ROWS = 1000  # of a request
# what tensors may hold a column of a kind: numbers of any width, as JSON writes them alike
NUMBERS = ("FP64", "FP32", "FP16", *(f"{u}INT{n}" for u in ("", "U") for n in (64, 32, 16, 8)))
DATATYPES = {"number": NUMBERS, "boolean": ("BOOL",), "date": ("BYTES",), "text": ("BYTES",)}

Row = Mapping[str, Any]
Scored = Callable[[Sequence[Row]], Sequence[Prediction]]


def loads(body: bytes) -> Any:
    """Read JSON as its standard has it; an `InputError` says what else it is."""
    try:
        return _DECODER.decode(body.decode())
    except InputError:
        raise
    except RecursionError as error:
        raise InputError("the body is nested too deeply") from error
    except ValueError as error:  # as of text that is not UTF-8
        raise InputError(f"the body is not JSON: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise InputError(f"the body is not JSON: it has {constant}, a gap is null")


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < 400 else float(digits)  # infinite, and refused by its name


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError("the body has an object with two equal names")
    return found


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse, object_pairs_hook=_unique)


def plain(document: Any, scored: Scored) -> Any:
    """Answer a row, which is an object of columns, with an object, and an array with an array."""
    rows = document if isinstance(document, list) else [document]
    for index, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"row {index} is {shown(row)}, must be an object of columns")
    answers = [
        {OUTPUT: each.value} | ({"warnings": [*each.warnings.values()]} if each.warnings else {})
        for each in scored(rows)
    ]
    return answers if isinstance(document, list) else answers[0]


def _rows(document: Any, kinds: Mapping[str, str]) -> Sequence[Row]:
    """Return the rows of an inference request."""
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise InputError("the body must be an object with an array of inputs")
    if type(document.get("id")) not in (str, type(None)):
        raise InputError(f"id must be a text, got {shown(document['id'])}")
    outputs = document.get("outputs") or []  # which means all
    if not isinstance(outputs, list) or any(
        not isinstance(each, dict) or each.get("name") != OUTPUT for each in outputs
    ):
        raise InputError(f"outputs must be an array of {OUTPUT}, got {shown(outputs)}")
    columns: dict[str, list[Any]] = {}
    for tensor in document["inputs"]:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str):
            raise InputError(f"an input must be an object with a name, got {shown(tensor)}")
        if name in columns:
            raise InputError(f"two inputs are called {named(name)}")
        if name in kinds:
            columns[name] = _data(tensor, name, kinds[name])
    if missing := [name for name in kinds if name not in columns]:
        raise InputError(f"there is no input {named(missing[0])}")
    if len({*map(len, columns.values())}) > 1:
        raise InputError("all inputs must have the same number of rows")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _data(tensor: Row, name: str, kind: str) -> list[Any]:
    """Return the values of a column from a tensor of shape [n] or [n, 1]."""
    datatype, shape, data = (tensor.get(key) for key in ("datatype", "shape", "data"))
    parameters = tensor.get("parameters")
    if datatype not in DATATYPES[kind]:
        mistake = f"datatype must be {' or '.join(DATATYPES[kind])}, got {shown(datatype)}"
    elif not isinstance(data, list):
        mistake = f"data must be an array, got {shown(data)}"
    elif isinstance(parameters, dict) and parameters.get("content_type") == "base64":  # MLServer's
        mistake = "texts must be texts, not base64"
    elif shape not in ([n := len(data)], [n, 1]):
        mistake = f"shape must be [{n}] or [{n}, 1], got {shown(shape)}"
    elif shape == [n]:
        return data
    else:
        return [each[0] if isinstance(each, list) and len(each) == 1 else each for each in data]
    raise InputError(f"{named(name)}: {mistake}")


def tensors(document: Any, scored: Scored, kinds: Mapping[str, str]) -> Any:
    """Answer an inference request, which has a tensor for each column."""
    predictions = scored(_rows(document, kinds))
    data = [each.value for each in predictions]
    output = {"name": OUTPUT, "datatype": "FP64", "shape": [len(data)], "data": data}
    warnings = [
        f"row {index}: {warning}"
        for index, each in enumerate(predictions, 1)
        for warning in each.warnings.values()
    ]  # as one text, since a parameter can be no array
    return (
        {"model_name": MODEL, "outputs": [output]}
        | ({"id": document["id"]} if document.get("id") is not None else {})
        | ({"parameters": {"warnings": "\n".join(warnings)}} if warnings else {})
    )


def documents(kinds: Mapping[str, str]) -> Mapping[str, tuple[str, Any]]:
    """Return what the protocol tells of server and model: by path its summary, and itself."""
    types = {name: DATATYPES[kind][0] for name, kind in kinds.items()}
    about = {
        "name": MODEL,
        "platform": "linear-regression",
        "inputs": [{"name": name, "datatype": types[name], "shape": [-1]} for name in types],
        "outputs": [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}],
    }
    return {
        ABOUT: ("The columns, as tensors", about),
        f"{ABOUT}/ready": ("Whether the model is loaded", {"name": MODEL, "ready": True}),
        "/v2": ("The server", {"name": MODEL, "version": str(VERSION), "extensions": []}),
        "/v2/health/live": ("Whether the server runs", {"live": True}),
        "/v2/health/ready": ("Whether it predicts", {"ready": True}),
    }
