import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.regression.linear import LinearModel, largest_difference


@given(hnp.arrays(np.float64, (5, 3), elements=st.floats(-1e3, 1e3)))
def test_predict_agrees_with_matrix_multiplication(X: np.ndarray) -> None:
    coef = np.array([0.5, -2.0, 1e-3])
    before = X.copy()
    prediction = LinearModel(coef, 3.0).predict(X)
    # each of the few additions may round by half an ulp of at most 3 + 2501
    np.testing.assert_allclose(prediction, X @ coef + 3.0, rtol=0, atol=8 * 2504 * 2**-53)
    assert (X == before).all()


def test_predict_adds_from_left_to_right() -> None:
    model = LinearModel(np.array([1.0, 1.0]), 1e16)
    assert model.predict(np.array([[1.0, -1e16]])).tolist() == [(1e16 + 1.0) - 1e16]


box = hnp.arrays(np.float64, (4,), elements=st.floats(-100, 100))


@given(box, box, st.floats(-10, 10), box, box)
def test_largest_difference_is_attained_at_a_corner(
    one: np.ndarray, other: np.ndarray, intercept: float, a: np.ndarray, b: np.ndarray
) -> None:
    low, high = np.minimum(a, b), np.maximum(a, b)
    models = LinearModel(one, intercept), LinearModel(other, 0.0)
    bound = largest_difference(*models, low, high)
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    differences = np.abs(models[0].predict(corners) - models[1].predict(corners))
    # sums of a few products of at most 200 · 100 each
    assert abs(bound - differences.max()) <= 32 * 4 * 20_010 * 2**-53
