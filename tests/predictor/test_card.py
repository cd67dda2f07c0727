"""The model card: what it says, and that Hugging Face and Markdown take it as it is meant."""

from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from stages.columns.inputs import Input
from stages.predictor.card import escape, list_costs, make_card
from stages.predictor.document import Predictor
from tests.conftest import CAR, EXAMPLE, coefficients_of, feature

PART = {"r2": 0.5, "mse": 4.0, "rmse": 2.0, "mae": 1.25}
SCORES: dict[str, Any] = {
    "float": {"train": PART},
    "quantized": {"train": PART, "test": PART | {"r2": 0.421875}},
    "quantization": {
        "mse_growth_percent": 0.125,
        "prediction_difference": {"max": 0.25, "bound": 0.5},
        "r2_drop": 0.0625,
        "optimal": True,
        "payload_bits": 40,
    },
    "half_widths": {"0.5": 0.4, "0.9": 1.5},
    "cv_r2": {"mean": 0.4567, "std": 0.03, "folds": [0.4, 0.5]},
    "baseline": {"mae": 2.25, "rmse": 3.5},
    "rows": {"train": 16512, "test": 4128},
    "gaps": {"km": 1234, "price": 1},
    "digest": "a hash",
}
BARE = SCORES | {  # without test rows, and with as many training rows as coefficients
    "quantized": {"train": PART},
    "quantization": SCORES["quantization"] | {"prediction_difference": {"bound": 0.5}},
    "rows": {"train": 3, "test": 0},
}
for name in ("half_widths", "cv_r2", "baseline", "gaps"):
    del BARE[name]
HOSTILE = '| `<b>` *a* _b_ [c](d) ~e~ &lt; \\ "$" {f} {}'


def card_of(model: Predictor, scores: Any = SCORES, unit: str = "", *, known: bool = True) -> str:
    return make_card(model, scores, coefficients_of(model, known=known), ["so_so_"], unit)


def test_it_says_what_scores_and_coefficients_say() -> None:
    text = card_of(EXAMPLE, unit="apples")
    for words in (
        "# y: linear regression, 2-bit weights\n",
        "predicts y, in apples, from 2 columns of toy. Its weights are whole numbers of 2 bits",
        "proven the best of their format: 5 bytes hold weights and intercept",
        "fitted to 16,512 rows, and tested on 4,128 others.",
        "| training rows | 0.500000 | 4.000000 | 2.000000 | 1.250000 |\n",
        "| test rows | 0.421875 | 4.000000 | 2.000000 | 1.250000 |\n",
        "- R² 0.457 ± 0.030 in 2 folds of the training rows\n",
        "50 % within ±0.4, 90 % within ±1.5\n",
        "- quantization makes test R² fall by 0.062500\n",
        "MAE 2.25 and RMSE 3.5 ",
        "| a | number | 0 to 1 | 0 |\n",
        "Gaps are counted in all rows; a row that has one is refused.",
        "| (intercept) | 3.35 | 0.05 | 3.25 to 3.45 | 3.25 | 13 / 2^2 |  |\n",
        "| a | 0.6 | 0.05 | 0.5 to 0.7 | 0.5 | 1 / 2^1 | 2 |\n",
        "stands for 2c − 3, over",
        'prediction = 13 / 2^2\n  + 1 / 2^1 * a\n  + -1 / 2^-2 * b "é"\n```\n',
        "\n- so_so\\_\n- R² 0.457",
        "the SHA-256 a hash.\n",
    ):
        assert words in text
    assert "baseline" not in text


def test_columns_of_every_kind_and_their_gaps() -> None:
    km = replace(CAR.features[-1], fill=None)
    empty = feature(Input("km", missing=True), 0.0, 1.0, 3, 0)
    text = card_of(replace(CAR, features=(*CAR.features[:-1], km, empty)))
    for row in (
        "| fuel | text | petrol (baseline) · diesel | 0 |",
        "| new | boolean, 1 where true and 0 where false | 0 to 1 | 0 |",
        "| seen | date, days since 1970 in UTC | 1970-01-11 to 1970-02-10 | 0 |",
        "| km | number | 0.5 to 2 | 1,234 |",
    ):
        assert f"\n{row}\n" in text
    assert "Gaps are counted in all rows; the mean of" in text


def test_what_no_rows_tell_is_left_out() -> None:
    text = card_of(EXAMPLE, BARE, known=False)
    assert "predicts y from 2 columns" in text
    assert "fitted to 3 rows, and tested on no others." in text
    assert "| a | 0.6 |  |  | 0.5 |" in text
    for words in ("test rows", "test R²", "±", "MAE 2.25", "folds", "nan", "None"):
        assert words not in text
    assert "from 1 column of toy" in card_of(replace(EXAMPLE, features=EXAMPLE.features[:1]))


@pytest.mark.parametrize(
    ("drop", "words"),
    [(0.25, "fall by 0.250000"), (0.0, "fall by 0.000000"), (-0.0001, "rise by 0.000100")],
)
def test_r2_may_rise(drop: float, words: str) -> None:
    scores = SCORES | {"quantization": SCORES["quantization"] | {"r2_drop": drop}}
    assert f"quantization makes test R² {words}" in list_costs(scores)


def test_levels_are_not_all_listed_where_there_are_many() -> None:
    levels = tuple(f"level{j}" for j in range(60))
    features = (
        feature(Input("s", "text", level, fill=0.0), 0.0, 1.0, 1, 0) for level in levels[1:]
    )
    text = card_of(replace(CAR, levels={"s": levels}, features=tuple(features)))
    assert "| level0 (baseline) · level1 · level2 · " in text
    assert "level20 and 39 more | 0 |" in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("median_income 2^3 #1 (a) + b - c = d!", "median_income 2^3 #1 (a) + b - c = d!"),
        ("_a_ __b", "\\_a\\_ \\_\\_b"),
        (
            "a|b\\ `c` *d* <e> [f] ~g &h; $",
            "a\\|b\\\\ \\`c\\` \\*d\\* \\<e\\> \\[f\\] \\~g \\&h; \\$",
        ),
    ],
)
def test_markdown_takes_nothing_for_its_own(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize(("scores", "split"), [(SCORES, "test"), (BARE, "train")])
def test_the_front_matter_is_what_hugging_face_reads(scores: Any, split: str) -> None:
    """Its `ModelCardData` makes `EvalResult`s of these keys, and asks for all of them."""
    fuel = feature(Input("fuel", "text", HOSTILE, fill=0.0), 0.0, 1.0, 1, 0)
    model = replace(
        CAR,
        target=HOSTILE,
        dataset=f"--- {HOSTILE}",
        levels={"fuel": ("a", HOSTILE)},
        features=(fuel, *CAR.features[1:]),
    )
    text = card_of(model, scores, HOSTILE)
    start, front, rest = text.split("---\n", 2)
    metrics = [("r_squared", 0.421875 if split == "test" else 0.5), ("mae", 1.25)]
    result = {
        "task": {"type": "tabular-regression"},
        "dataset": dict.fromkeys(("type", "name"), model.dataset) | {"split": split},
        "metrics": [{"type": name, "value": value} for name, value in metrics],
    }
    assert (start, yaml.safe_load(front)) == (
        "",
        {
            "pipeline_tag": "tabular-regression",
            "tags": ["linear-regression", "quantized"],
            "model-index": [{"name": HOSTILE, "results": [result]}],
        },
    )
    assert rest.startswith(f"# {escape(HOSTILE)}: linear regression, 3-bit weights\n")
    assert f", in {escape(HOSTILE)}, from 4 columns" in rest
