"""Data sets with a name. Each is a module in `datasets`, whose `load` returns it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set: its columns, and what is predicted from the others."""

    columns: Mapping[str, NDArray[np.float64]]
    target: str
    unit: str


def list_names() -> list[str]:
    return sorted(path.stem for path in Path(__file__).with_name("datasets").glob("*.py"))
