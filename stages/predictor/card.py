"""The model card: what a predictor says of itself, for people."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stages.predictor.document import PROOF, Predictor
from stages.predictor.expression import expression

GAPS = {
    "fail": "a row that has one is refused",
    "drop": "a row that has one is left out",
    "mean": "the mean of the training rows takes their place, or the baseline",
}

FACTS = {  # by their names in scores.json
    "mse_growth_percent": "quantization makes the MSE on the training rows grow by {:g} %",
    "r2_drop": "test R² falls by {:g}",
    "max": "predictions differ from the float model's by {:g} at most on the test rows",
    "bound": "predictions differ by no more than {:g} anywhere in the training range",
    "half_widths": "nine of ten rows like the test rows lie within ±{[0.9]:g} of their prediction",
    "cv_r2": "R² {0[mean]:.3f} ± {0[std]:.3f} in {1} folds of the training rows",
    "baseline": "the training mean alone has MAE {0[mae]} and RMSE {0[rmse]} on the test rows",
}


def card(predictor: Predictor, scores: dict[str, Any], coefficients: Iterable[Any]) -> str:
    """Return the model card as Markdown, of scores.json and the rows of coefficients.csv."""
    target, features, found = predictor.target, predictor.features, scores["quantization"]
    baselines = (
        f"\n- {name}: {predictor.levels[name][0]} is the baseline, as is a level that is not below"
        for name in dict.fromkeys(f.column for f in features if f.kind == "text")
    )
    parts, facts = list_scores(scores["quantized"]), "\n- ".join(list_facts(scores))
    names = [f.name if f.name.isidentifier() else f"[{f.name}]" for f in features]
    return f"""\
---
pipeline_tag: tabular-regression
tags: [linear-regression, quantized]
---
# {target}: linear regression, {predictor.bits}-bit weights

- data: {predictor.dataset}, {len(features)} features
- predicts: {target}
- quantization: whole-number weights of {predictor.bits} bits, {PROOF[found["optimal"]]}
- payload: {found["payload_bits"] // 8} bytes for all that a prediction needs, where float32 takes \
{4 * (len(features) + 1)}{"".join(baselines)}
- gaps: {GAPS[predictor.missing]}

| feature | least in training | greatest | code | multiplier / power of two | weight \
| float weight | standard error |
|---|---|---|---|---|---|---|---|{_lines(list_weights(predictor, coefficients))}

| rows | R² | MSE | RMSE | MAE |
|---|---|---|---|---|{_lines(parts)}

- {facts}
- {target} = {expression(predictor, names)}"""


def list_weights(predictor: Predictor, coefficients: Iterable[Any]) -> Iterator[list[str]]:
    """Yield each weight's name, range in training, code and size, and size and error as a float."""
    first = predictor.intercept
    numbers = [("(intercept)", "", "", "", first.number, first.exponent)]
    for f, n in zip(predictor.features, predictor.multipliers, strict=True):
        numbers.append((f.name, f.show(f.min), f.show(f.max), str(f.code), n, f.exponent))
    for (*cells, n, exponent), row in zip(numbers, coefficients, strict=True):
        cells += f"{n} / 2^{exponent}", f"{n * 2.0**-exponent:.6g}"
        yield [*cells, row["coefficient"], row["std_error"]]


def list_facts(scores: dict[str, Any]) -> list[str]:
    """Return `FACTS`, as far as there were rows to find them."""
    found = scores | scores["quantization"] | scores["quantization"]["prediction_difference"]
    n_folds = len(found.get("cv_r2", {}).get("folds", ()))
    return [text.format(found[name], n_folds) for name, text in FACTS.items() if name in found]


def list_scores(parts: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    """Yield for training and test rows their name, R², MSE, RMSE and MAE."""
    names = {"train": "training rows", "test": "test rows"}
    for part, scores in parts.items():
        yield [names[part], *(f"{scores[name]:.6f}" for name in ("r2", "mse", "rmse", "mae"))]


def _lines(rows: Iterable[Iterable[str]]) -> str:
    """Write rows of a table of Markdown, in whose cells a | is no end."""
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "".join(f"\n| {' | '.join(row)} |" for row in cells)
