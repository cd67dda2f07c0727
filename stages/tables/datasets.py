"""The data sets of scikit-learn that `load.dataset` names, checked."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.project.cli import InputError

CACHE = "cal_housing_py3.pkz"
ARCHIVE_URL = "https://ndownloader.figshare.com/files/5976036"
DOWNLOAD_PAUSES = (1, 2, 4)  # seconds to wait after a failed try
CALIFORNIA_SHAPE = (20_640, 8)
CALIFORNIA_SHA256 = "9b9082ab86651a01d663a8e4a70ea14c0b41d0b2bd693bccd3221dcd111e15ca"


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set that scikit-learn has: its columns, and what is predicted from the others."""

    columns: Mapping[str, NDArray[np.float64]]
    target: str
    unit: str


def california_housing() -> DataSet:
    """California Housing, 20,640 block groups of the 1990 census (Pace & Barry, 1997)."""
    from sklearn.datasets import fetch_california_housing

    cached = [home for home in california_homes() if (home / CACHE).is_file()]
    home = cached[0] if cached else download()
    try:
        bunch = fetch_california_housing(data_home=home, download_if_missing=False)
        values = np.column_stack([bunch.data, bunch.target]).astype(np.float64)
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise InputError(f"{home / CACHE} cannot be read, delete it: {error!r}") from error
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    if bunch.data.shape != CALIFORNIA_SHAPE:
        wrong = f"{bunch.data.shape} rows and features, not {CALIFORNIA_SHAPE}"
    elif not np.isfinite(values).all():
        wrong = "it has values that are not finite"
    elif digest != CALIFORNIA_SHA256:
        wrong = f"the values' SHA-256 is {digest}, not {CALIFORNIA_SHA256}"
    else:
        target = bunch.target_names[0]
        columns = dict(zip([*bunch.feature_names, target], values.T, strict=True))
        return DataSet(columns, target, "100,000 US dollars of 1990")
    raise InputError(f"{home / CACHE} is not California Housing, delete it: {wrong}")


def download() -> Path:
    """Download California Housing, and return the folder that has it."""
    from sklearn.datasets import fetch_california_housing

    home = download_home()
    for pause in DOWNLOAD_PAUSES:
        try:
            with warnings.catch_warnings(action="ignore"):
                fetch_california_housing(data_home=home, n_retries=1, delay=pause)
            return home
        except OSError as error:  # URLError and TimeoutError too
            failure = error
    looked = ", ".join(map(str, california_homes()))
    raise InputError(
        f"California Housing could not be downloaded ({failure}), and there is no {CACHE} in"
        f" {looked}. Fetch {ARCHIVE_URL} elsewhere and save it as {home}/cal_housing.tgz,"
        " or set load.dataset to diabetes in params.yaml, which needs no download."
    ) from failure


def download_home() -> Path:
    """Return the folder of the checkout that a download goes to.

    DVC runs an experiment in a workspace below `.dvc` of the checkout.
    """
    checkouts = (folder.parent for folder in Path.cwd().parents if folder.name == ".dvc")
    return next(checkouts, Path()) / "data/scikit_learn_data"


def california_homes() -> list[Path]:
    """Return the folders that may already have scikit-learn's cache, in the order to look."""
    home = download_home()
    configured = os.environ.get("SCIKIT_LEARN_DATA") or home
    shared = home.parents[1] / "../shared/scikit_learn_data"
    homes = (configured, home, shared, "~/scikit_learn_data")
    # of os, as that of Path raises an error where there is no such user
    return [Path(os.path.expanduser(home)) for home in dict.fromkeys(homes)]  # noqa: PTH111


def diabetes() -> DataSet:
    """Diabetes, 442 patients (Efron et al., 2004); it comes with scikit-learn."""
    from sklearn.datasets import load_diabetes

    bunch, target = load_diabetes(), "progression"
    columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True)) | {target: bunch.target}
    return DataSet(columns, target, "points of the study's score, one year on")


SOURCES: Mapping[str, Callable[[], DataSet]] = {
    "california_housing": california_housing,
    "diabetes": diabetes,
}
