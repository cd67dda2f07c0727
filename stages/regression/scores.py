"""How good a model is, and what quantization did to it: the numbers of `reports/scores.json`."""

from typing import Any

import numpy as np

from stages.project.files import DECIMALS
from stages.regression.linear import Floats, LinearModel, largest_difference
from stages.tables.table import Table


def regression(y: Floats, prediction: Floats) -> dict[str, float]:
    """Score predictions of `y`; both have the shape (n_rows,) and the unit of the target.

    Returns
    -------
    dict
        R² (1 - MSE / variance of y), the errors MSE, RMSE and MAE, and the prediction's mean,
        standard deviation (of the population), minimum and maximum, to 6 decimals.
    """
    error = prediction - y
    mse = np.mean(error**2)
    return _rounded(
        {
            "r2": 1 - mse / np.var(y),
            "mse": mse,
            "rmse": np.sqrt(mse),
            "mae": np.mean(np.abs(error)),
            "mean": np.mean(prediction),
            "std": np.std(prediction),
            "min": np.min(prediction),
            "max": np.max(prediction),
        }
    )


def mse_growth_percent(y: Floats, before: Floats, after: Floats) -> float:
    """Return by how many percent the MSE of the predictions `after` exceeds that of `before`.

    With the error e and its change d, (e + d)² - e² = d (2e + d): taken so, small growth does not
    drown in the difference of two almost equal numbers. To 4 significant digits. A perfect fit
    counts as one with an R² of 1 - 1e-12, for growth to be a number.
    """
    error = before - y
    change = after - before
    mse = max(np.mean(error**2), 1e-12 * np.var(y))
    growth = np.mean(change * (2 * error + change)) / mse
    return float(f"{100 * growth:.4g}")


def compare(
    model: LinearModel, quantized: LinearModel, train: Table, test: Table
) -> dict[str, Any]:
    """Score a model and its quantized form, and by how much they differ.

    `prediction_difference.bound` holds for every input within the features' training range.
    """
    before, after = (
        {"train": scored.predict(train.X), "test": scored.predict(test.X)}
        for scored in (model, quantized)
    )
    scores: dict[str, Any] = {
        name: {
            "train": regression(train.y, predicted["train"]),
            "test": regression(test.y, predicted["test"]),
        }
        for name, predicted in (("float", before), ("quantized", after))
    }
    coef_error = np.abs(quantized.coef - model.coef)
    difference = np.abs(after["test"] - before["test"])
    bound = largest_difference(model, quantized, train.X.min(axis=0), train.X.max(axis=0))
    scores["quantization"] = {
        "mse_growth_percent": mse_growth_percent(train.y, before["train"], after["train"]),
        "r2_drop": round(
            scores["float"]["test"]["r2"] - scores["quantized"]["test"]["r2"], DECIMALS
        ),
        "coef_error": _rounded({"mean": coef_error.mean(), "max": coef_error.max()}),
        "intercept_error": round(abs(quantized.intercept - model.intercept), DECIMALS),
        "prediction_difference": _rounded({"mean": difference.mean(), "max": difference.max()})
        | {"bound": _rounded_up(bound)},
    }
    return scores


def _rounded(values: dict[str, Any]) -> dict[str, float]:
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


def _rounded_up(value: float) -> float:
    return float(np.ceil(value * 10**DECIMALS) / 10**DECIMALS)
