"""The data sets that `load.dataset` names, each as one checked `Table`."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.cli import InputError
from stages.table import Table

CACHE = "cal_housing_py3.pkz"
CHECKOUT_HOME = Path("data/scikit_learn_data")
SHARED_HOME = Path("../shared/scikit_learn_data")
ARCHIVE_URL = "https://ndownloader.figshare.com/files/5976036"
DOWNLOAD_PAUSES = (1, 2, 4)  # seconds to wait after a failed try

CALIFORNIA_SHAPE = (20_640, 8)
CALIFORNIA_SHA256 = "9b9082ab86651a01d663a8e4a70ea14c0b41d0b2bd693bccd3221dcd111e15ca"


def california_housing() -> Table:
    """California Housing, 20,640 block groups of the 1990 census (Pace & Barry, 1997).

    Raises
    ------
    InputError
        The table is neither cached nor can it be downloaded, or what was read is not that table.
    """
    cached = next((home for home in california_homes() if (home / CACHE).is_file()), None)
    bunch = _fetch(cached) if cached else _download()
    table = Table(
        X=bunch.data,
        y=bunch.target,
        features=tuple(bunch.feature_names),
        target=bunch.target_names[0],
        unit="100,000 US dollars of 1990",
        dataset="california_housing",
    )
    where = f"{(cached or CHECKOUT_HOME) / CACHE} is not California Housing, delete it:"
    if table.X.shape != CALIFORNIA_SHAPE:
        raise InputError(f"{where} {table.X.shape} rows and features, not {CALIFORNIA_SHAPE}")
    values = np.column_stack([table.X, table.y])
    if not np.isfinite(values).all():
        raise InputError(f"{where} it has values that are not finite")
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    if digest != CALIFORNIA_SHA256:
        raise InputError(f"{where} the values' SHA-256 is {digest}, not {CALIFORNIA_SHA256}")
    return table


def california_homes() -> list[Path]:
    """Return the folders that may already have scikit-learn's cache, in the order to look."""
    return [
        Path(os.environ.get("SCIKIT_LEARN_DATA", CHECKOUT_HOME)).expanduser(),
        CHECKOUT_HOME,
        SHARED_HOME,
        Path("~/scikit_learn_data").expanduser(),
    ]


def diabetes() -> Table:
    """Diabetes, 442 patients (Efron et al., 2004); it comes with scikit-learn."""
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    return Table(
        X=bunch.data,
        y=bunch.target,
        features=tuple(bunch.feature_names),
        target="progression",
        unit="disease progression after one year",
        dataset="diabetes",
    )


SOURCES: Mapping[str, Callable[[], Table]] = {
    "california_housing": california_housing,
    "diabetes": diabetes,
}


def _fetch(home: Path) -> Any:
    from sklearn.datasets import fetch_california_housing

    try:
        return fetch_california_housing(data_home=home, download_if_missing=False)
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise InputError(
            f"{home / CACHE} cannot be read, delete it: {type(error).__name__}: {error}"
        ) from error


def _download() -> Any:
    from sklearn.datasets import fetch_california_housing

    for pause in DOWNLOAD_PAUSES:
        try:
            with warnings.catch_warnings(action="ignore"):
                return fetch_california_housing(data_home=CHECKOUT_HOME, n_retries=1, delay=pause)
        except OSError as error:  # URLError and TimeoutError too
            failure = error
    looked = ", ".join(str(home) for home in dict.fromkeys(california_homes()))
    raise InputError(
        f"California Housing could not be downloaded ({failure}), and there is no {CACHE} in"
        f" {looked}. Fetch {ARCHIVE_URL} elsewhere and save it as {CHECKOUT_HOME}/cal_housing.tgz,"
        " or set load.dataset to diabetes in params.yaml, which needs no download."
    ) from failure
