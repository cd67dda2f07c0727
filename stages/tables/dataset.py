"""Data sets with a name. Each is a module in `datasets`, whose `load` returns it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DataSet = Mapping[str, NDArray[np.float64]]  # columns; the last is predicted from the others


def list_names() -> list[str]:
    return sorted(path.stem for path in Path(__file__).with_name("datasets").glob("*.py"))
