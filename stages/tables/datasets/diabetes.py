"""Diabetes, 442 patients (Efron et al., 2004); it comes with scikit-learn."""

from sklearn.datasets import load_diabetes

from stages.tables.relation import DataSet


def load() -> DataSet:
    bunch = load_diabetes()
    return dict(zip(bunch.feature_names, bunch.data.T, strict=True)) | {"progression": bunch.target}
