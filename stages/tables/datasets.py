"""The data sets that `load.dataset` names, each as one checked `Table`."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.project.cli import InputError
from stages.tables import raw, table
from stages.tables.table import Table

CACHE = "cal_housing_py3.pkz"
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
    found = Table(
        X=bunch.data,
        y=bunch.target,
        features=tuple(bunch.feature_names),
        target=bunch.target_names[0],
        unit="100,000 US dollars of 1990",
        dataset="california_housing",
    )
    where = f"{(cached or download_home()) / CACHE} is not California Housing, delete it:"
    if found.X.shape != CALIFORNIA_SHAPE:
        raise InputError(f"{where} {found.X.shape} rows and features, not {CALIFORNIA_SHAPE}")
    values = np.column_stack([found.X, found.y])
    if not np.isfinite(values).all():
        raise InputError(f"{where} it has values that are not finite")
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    if digest != CALIFORNIA_SHA256:
        raise InputError(f"{where} the values' SHA-256 is {digest}, not {CALIFORNIA_SHA256}")
    return found


def checkout() -> Path:
    """Return the checkout, also from the workspace below `.dvc` where DVC runs an experiment."""
    here = Path.cwd()
    return next((folder.parent for folder in here.parents if folder.name == ".dvc"), Path())


def download_home() -> Path:
    """Return the folder that a download goes to."""
    return checkout() / "data/scikit_learn_data"


def california_homes() -> list[Path]:
    """Return the folders that may already have scikit-learn's cache, in the order to look."""
    configured = os.environ.get("SCIKIT_LEARN_DATA")
    homes = [
        *([Path(configured)] if configured else []),
        download_home(),
        checkout() / "../shared/scikit_learn_data",
        Path("~/scikit_learn_data"),
    ]
    # of os, as that of Path raises an error where there is no such user
    return [Path(os.path.expanduser(home)) for home in homes]  # noqa: PTH111


def diabetes() -> Table:
    """Diabetes, 442 patients (Efron et al., 2004); it comes with scikit-learn."""
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    return Table(
        X=bunch.data,
        y=bunch.target,
        features=tuple(bunch.feature_names),
        target="progression",
        unit="points of the study's score, one year on",
        dataset="diabetes",
    )


SOURCES: Mapping[str, Callable[[], Table]] = {
    "california_housing": california_housing,
    "diabetes": diabetes,
}


def read(name: str, target: str | None, features: Sequence[str] | None, unit: str | None) -> Table:
    """Read the data set `name`, with the target and the features that are asked for.

    Parameters
    ----------
    name : str
        One of `SOURCES`, or files below `data/raw`.
    target, features, unit : str, sequence of str, str
        None stands for what the data set says, and for all columns but the target.

    Raises
    ------
    InputError
        It cannot be read, or has no such columns.
    """
    whole = SOURCES[name]() if name in SOURCES else None
    target = target or (whole.target if whole else None)
    if features and target in features:
        raise InputError(f"load.features must not have the target, {target}")
    if whole and target:
        found = select(whole, target, features)
    elif raw.FOLDER in Path(os.path.normpath(name)).parents:
        found = raw.read(name, target, features)
    else:
        raise InputError(
            f"load.dataset must be {', '.join(SOURCES)} or files below {raw.FOLDER}, which may"
            f" have wildcards, got {name!r}"
        )
    return replace(found, unit=unit or found.unit)


def select(whole: Table, target: str, features: Sequence[str] | None) -> Table:
    """Make a table of other columns; None stands for all but the target."""
    columns = dict(zip(whole.features, whole.X.T, strict=True)) | {whole.target: whole.y}
    features = features or [name for name in columns if name != target]
    unknown = [name for name in (*features, target) if name not in columns]
    if unknown:
        raise InputError(f"{whole.dataset} has no column {unknown[0]}, only {', '.join(columns)}")
    return Table(
        X=np.array([columns[name] for name in features]).T,
        y=columns[target],
        features=tuple(features),
        target=target,
        unit=whole.unit if target == whole.target else table.OWN_UNIT,
        dataset=whole.dataset,
    )


def _fetch(home: Path) -> Any:
    from sklearn.datasets import fetch_california_housing

    try:
        bunch = fetch_california_housing(data_home=home, download_if_missing=False)
        bunch.data, bunch.target = (np.asarray(a, np.float64) for a in (bunch.data, bunch.target))
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise InputError(f"{home / CACHE} cannot be read, delete it: {error!r}") from error
    return bunch


def _download() -> Any:
    from sklearn.datasets import fetch_california_housing

    home = download_home()
    for pause in DOWNLOAD_PAUSES:
        try:
            with warnings.catch_warnings(action="ignore"):
                return fetch_california_housing(data_home=home, n_retries=1, delay=pause)
        except OSError as error:  # URLError and TimeoutError too
            failure = error
    looked = ", ".join(map(str, california_homes()))
    raise InputError(
        f"California Housing could not be downloaded ({failure}), and there is no {CACHE} in"
        f" {looked}. Fetch {ARCHIVE_URL} elsewhere and save it as {home}/cal_housing.tgz,"
        " or set load.dataset to diabetes in params.yaml, which needs no download."
    ) from failure
