"""Rows of DuckDB in blocks, through Arrow's C stream interface.

DuckDB hands numbers over as a whole, or in blocks to pyarrow or pandas, which would more than
double what the pipeline installs. The interface behind these is two C structures, of which numpy
can take columns of numbers: https://arrow.apache.org/docs/format/CStreamInterface.html.
"""

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stages.project.cli import InputError
from stages.tables import engine

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


class _Array(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        *((name, ctypes.c_int64) for name in ("length", "nulls", "offset", "n_buffers")),
        ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)),
        ("children", ctypes.POINTER(ctypes.c_void_p)),
        ("dictionary", ctypes.c_void_p),
        ("release", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("private", ctypes.c_void_p),
    ]


class _Stream(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("get_schema", ctypes.c_void_p),
        ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
        ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)),
    ]


def blocks(relation: "DuckDBPyRelation", name: str) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of a relation whose columns are all DOUBLE, and have no NULL, in their order.

    Each block has the shape (n_rows, n_columns). Messages call the relation `name`.
    """
    if {*map(str, relation.types)} != {"DOUBLE"}:
        raise InputError(f"{name}: its columns must hold numbers")
    capsule = relation.__arrow_c_stream__()  # releases the stream when it goes
    address = _pointer(capsule, b"arrow_array_stream")
    stream, array = _Stream.from_address(address), _Array()
    while not stream.get_next(address, ctypes.byref(array)):
        if not array.release:
            return
        try:
            block = np.empty((array.n_children, array.length))
            for row, child in zip(block, array.children[: array.n_children], strict=True):
                column = _Array.from_address(child)
                if column.nulls:
                    raise InputError(f"{name}: it has empty values")
                if array.length:
                    start = column.buffers[1] + 8 * (array.offset + column.offset)
                    ctypes.memmove(row.ctypes.data, start, row.nbytes)
        finally:
            array.release(ctypes.byref(array))
        yield block.T
    reason = (stream.get_last_error(address) or b"it cannot be read").decode()
    raise InputError(engine.explained(reason, name))
