"""The data sets of scikit-learn that `load.dataset` names, checked."""

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.project.cli import InputError

CACHE = "cal_housing_py3.pkz"
ARCHIVE_URL = "https://ndownloader.figshare.com/files/5976036"
RETRIES, PAUSE = 3, 2  # of a download, and seconds before each
CALIFORNIA_SHA256 = "9b9082ab86651a01d663a8e4a70ea14c0b41d0b2bd693bccd3221dcd111e15ca"
DataSet = Mapping[str, NDArray[np.float64]]  # columns; the last is predicted from the others


def california_housing() -> DataSet:
    """California Housing, 20,640 block groups of the 1990 census (Pace & Barry, 1997)."""
    from sklearn.datasets import fetch_california_housing

    homes = california_homes()
    home = next((home for home in homes if (home / CACHE).is_file()), download_home())
    try:
        with warnings.catch_warnings(action="ignore"):
            bunch = fetch_california_housing(data_home=home, n_retries=RETRIES, delay=PAUSE)
        values = np.column_stack([bunch.data, bunch.target]).astype(np.float64)
    except Exception as error:  # unpickling damaged bytes may raise anything
        if (home / CACHE).is_file():
            raise InputError(f"{home / CACHE} cannot be read, delete it: {error!r}") from error
        looked = ", ".join(map(str, homes))
        raise InputError(
            f"California Housing could not be downloaded ({error}), and there is no {CACHE} in"
            f" {looked}. Fetch {ARCHIVE_URL} elsewhere and save it as {home / 'cal_housing.tgz'},"
            " or set load.dataset to diabetes in params.yaml, which needs no download."
        ) from error
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    if digest != CALIFORNIA_SHA256:
        wrong = f"its values' SHA-256 is {digest}, not {CALIFORNIA_SHA256}"
        raise InputError(f"{home / CACHE} is not California Housing, delete it: {wrong}")
    return dict(zip([*bunch.feature_names, *bunch.target_names], values.T, strict=True))


def download_home() -> Path:
    """Return the folder of the checkout for downloads; experiments run below its `.dvc`."""
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

    bunch = load_diabetes()
    return dict(zip(bunch.feature_names, bunch.data.T, strict=True)) | {"progression": bunch.target}


SOURCES = {"california_housing": california_housing, "diabetes": diabetes}
