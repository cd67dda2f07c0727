"""The model card, Markdown for people and Hugging Face, and what it shares with the page."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.predictor.document import FOLDS, GAPS, PROOF, UNITS, Predictor
from stages.predictor.payload import pack
from stages.project.cli import plural
from stages.project.text import join, label


def make_card(
    model: Predictor, scores: Any, coefficients: Sequence[Any], doubts: Iterable[str], unit: str
) -> str:
    """Return the model card of scores.json and the rows of coefficients.csv."""
    split, rated = [*scores["quantized"].items()][-1]
    listed = zip(list_weights(model, coefficients), coefficients, strict=True)
    weights = [
        [name, *floats, row["low"] and f"{row['low']} to {row['high']}", weight, fraction, code]
        for (name, _, _, code, fraction, weight, *floats), row in listed
    ]
    (*_, constant, _), *others = weights
    terms = [f"{fraction} * {name}" for name, *_, fraction, _ in others]
    template = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    return template.format(
        **{name: escape(str(text)) for name, text in describe(model, scores, unit).items()},
        scores=scores,
        split=split,
        name=json.dumps(model.target, ensure_ascii=False),  # which is YAML too
        dataset=json.dumps(model.dataset, ensure_ascii=False),
        rated=rated,
        tested=f"{scores['rows']['test']:,}" if scores["rows"]["test"] else "no",
        rows=write_rows(list_scores(scores["quantized"])),
        facts="\n- ".join([*map(escape, doubts), *list_facts(scores), *list_costs(scores)]),
        inputs=write_rows(list_columns(model, scores.get("gaps", {}))),
        weights=write_rows(weights),
        formula="\n  + ".join([constant, *terms]),
    )


def describe(model: Predictor, scores: Mapping[str, Any], unit: str) -> dict[str, object]:
    """Return what card and page say of a predictor in the same words."""
    return {
        "target": model.target,
        "measured": f", in {unit}," if unit else "",
        "bits": model.bits,
        "columns": f"{plural(len(model.schema.kinds), 'column')} of {model.dataset}",
        "proof": PROOF[scores["quantization"]["optimal"]],
        "size": len(pack(model)),
        "gaps": GAPS[model.missing],
        "last": 2**model.bits - 1,
        "digest": scores["digest"],
    }


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is: an underscore within a word is no mark."""
    return re.sub(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def write_rows(rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"| {' | '.join(map(escape, row))} |" for row in rows)


def list_columns(model: Predictor, gaps: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield each column, what it holds, its values in training rows, and its gaps."""
    present = [f for f in model.features if not f.missing]
    seen = {f.column: f"{f.show(f.min)} to {f.show(f.max)}" for f in present}
    for name, (first, *others) in model.levels.items():
        seen[name] = f"{label(first)} (baseline) · {join(others, ' · ')}"
    for name, kind in model.schema.kinds.items():
        yield [name, kind + UNITS.get(kind, ""), seen.get(name, ""), f"{gaps.get(name, 0):,}"]


def list_weights(predictor: Predictor, coefficients: Iterable[Any]) -> Iterator[list[str]]:
    """Yield each weight's name, range in training, code and size, and size and error as a float."""
    first = predictor.intercept
    numbers = [("(intercept)", "", "", "", first.number, first.exponent)]
    for f, n in zip(predictor.features, predictor.multipliers, strict=True):
        numbers.append((f.name, f.show(f.min), f.show(f.max), str(f.code), n, f.exponent))
    for (*cells, n, exponent), row in zip(numbers, coefficients, strict=True):
        cells += f"{n} / 2^{exponent}", f"{n * 2.0**-exponent:.6g}"
        yield [*cells, row["coefficient"], row["std_error"]]


def list_facts(scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the scores tell besides errors, as far as there were rows to find it."""
    if folds := scores.get("cv_r2"):
        yield f"{FOLDS.format(folds, len(folds['folds']))} of the training rows"
    if reach := scores.get("half_widths"):
        parts = (f"{100 * float(share):g} % within ±{half:,}" for share, half in reach.items())
        yield f"new rows like the test rows lie near their prediction: {', '.join(parts)}"
    if mean := scores.get("baseline"):
        yield f"the training mean alone has MAE {mean['mae']} and RMSE {mean['rmse']} on test rows"


def list_costs(scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield what whole-number weights cost, as far as there were rows to find it."""
    found, differ = scores["quantization"], "predictions differ from the float model's by"
    if "baseline" in scores:
        drop = found["r2_drop"]
        yield f"quantization makes test R² {'rise' if drop < 0 else 'fall'} by {abs(drop):.6f}"
        yield f"{differ} {found['prediction_difference']['max']:,} at most on the test rows"
    yield f"{differ} {found['prediction_difference']['bound']:,} at most in the training range"
    if scores["float"]["train"]["mse"]:  # else a fit is perfect, and nothing to compare with
        yield f"quantization makes the training MSE grow by {found['mse_growth_percent']:g} %"


def list_scores(parts: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    """Yield for training and test rows their name, R², MSE, RMSE and MAE."""
    names = {"train": "training rows", "test": "test rows"}
    for part, scores in parts.items():
        yield [names[part], *(f"{scores[name]:.6f}" for name in ("r2", "mse", "rmse", "mae"))]
