"""Diabetes, 442 patients (Efron et al., 2004); it comes with scikit-learn."""

from sklearn.datasets import load_diabetes

from stages.tables.dataset import DataSet


def load() -> DataSet:
    bunch, target = load_diabetes(), "progression"
    columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True)) | {target: bunch.target}
    return DataSet(columns, target, "points of the study's score, one year on")
