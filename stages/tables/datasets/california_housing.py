"""California Housing, 20,640 block groups of the 1990 census (Pace & Barry, 1997)."""

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_california_housing

from stages.project.cli import InputError
from stages.tables.relation import DataSet

CACHE = "cal_housing_py3.pkz"
ARCHIVE_URL = "https://ndownloader.figshare.com/files/5976036"
RETRIES, PAUSE = 3, 2  # of a download, and seconds before each
SHA256 = "9b9082ab86651a01d663a8e4a70ea14c0b41d0b2bd693bccd3221dcd111e15ca"


def load() -> DataSet:
    new, homes = list_homes()
    home = next((home for home in homes if (home / CACHE).is_file()), new)
    try:
        with warnings.catch_warnings(action="ignore"):
            bunch = fetch_california_housing(data_home=home, n_retries=RETRIES, delay=PAUSE)
        values = np.column_stack([bunch.data, bunch.target]).astype(np.float64)
        if (digest := hashlib.sha256(values.tobytes()).hexdigest()) != SHA256:
            raise ValueError(f"the SHA-256 of its values is {digest}, not {SHA256}")
    except Exception as error:  # unpickling damaged bytes may raise anything
        if (home / CACHE).is_file():
            raise InputError(f"{home / CACHE} cannot be read, delete it: {error!r}") from error
        looked = ", ".join(map(str, homes))
        raise InputError(
            f"California Housing could not be downloaded ({error}), and there is no {CACHE} in"
            f" {looked}. Fetch {ARCHIVE_URL} elsewhere and save it as {home / 'cal_housing.tgz'},"
            " or set load.dataset to diabetes in params.yaml, which needs no download."
        ) from error
    return dict(zip([*bunch.feature_names, *bunch.target_names], values.T, strict=True))


def list_homes() -> tuple[Path, list[Path]]:
    """Return the folder for downloads, and all that may have the file, in the order to look."""
    # an experiment runs below the checkout's .dvc
    checkout = next((it.parent for it in Path.cwd().parents if it.name == ".dvc"), Path())
    new, shared = (checkout / at / "scikit_learn_data" for at in ("data", "../shared"))
    homes = (os.environ.get("SCIKIT_LEARN_DATA") or new, new, shared, "~/scikit_learn_data")
    # of os, as that of Path raises an error where there is no such user
    return new, [Path(os.path.expanduser(home)) for home in dict.fromkeys(homes)]  # noqa: PTH111
