"""`python -m stages.gate`: a limit is one for all tables, or one for each."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from stages import gate
from stages.project import files
from stages.project.cli import InputError
from tests.conftest import EXAMPLE, change, write_parameters


def limit_to(limit: str, dataset: str) -> None:
    write_parameters(dataset=dataset)
    change(Path(), "min_r2: null", f"min_r2: {limit}")
    files.save_json({"test_r2": 0.45, "float_r2": 0.45}, files.METRICS)
    files.save_json(replace(EXAMPLE, dataset=dataset), files.PREDICTOR)


@pytest.mark.parametrize(
    ("dataset", "limit", "passed"),
    [
        ("diabetes", "null", ""),
        ("diabetes", "0.4", "test R² ≥ 0.4, "),
        ("diabetes", "0.5", None),
        ("diabetes", "{other: 0.9, diabetes: 0.4}", "test R² ≥ 0.4, "),
        ("diabetes", "{other: 0.4, diabetes: 0.5}", None),
        ("diabetes", "{diabetes: null}", ""),
        ("data/raw/t.csv", "{data/raw/t.csv: -1.5}", "test R² ≥ -1.5, "),
    ],
)
def test_the_limit_is_that_of_the_data_set(
    dataset: str, limit: str, passed: str | None, own_folder: Path
) -> None:
    limit_to(limit, dataset)
    if passed is None:
        with pytest.raises(SystemExit, match=r"^gate: test R² is 0.45, gate.min_r2 wants .* 0.5$"):
            gate.main()
    else:
        assert gate.main() == f"passed: {passed}drop ≤ 0.001"


def test_a_data_set_without_a_limit_is_one_line(own_folder: Path) -> None:
    limit_to("{other: 0.4, another: null}", "diabetes")
    with pytest.raises(InputError) as raised:
        gate.main()
    assert str(raised.value) == (
        "gate.min_r2 must be a number or null, or name diabetes; it names other, another"
    )


def test_the_least_r2_in_the_folds_may_be_one_for_each_too(own_folder: Path) -> None:
    limit_to("null", "diabetes")
    change(own_folder, "min_cv_r2: null", "min_cv_r2: {diabetes: 0.9}")
    with pytest.raises(SystemExit, match=r"gate.min_cv_r2 wants at least 0.9$"):
        gate.main()


def test_metrics_must_be_of_the_data_set(own_folder: Path) -> None:
    limit_to("null", "diabetes")
    write_parameters(dataset="data/raw/t.csv")
    with pytest.raises(InputError, match=r"^the metrics are of diabetes, load.dataset is data/raw"):
        gate.main()


def test_without_test_rows_no_drop_is_told(own_folder: Path) -> None:
    limit_to("null", "diabetes")
    files.save_json({}, files.METRICS)
    assert gate.main() == "passed: there are no test rows"
