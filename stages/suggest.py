"""Suggest products and ratios of features for load.derived, by the training rows alone.

Of all products and ratios of two features, forward selection takes the one after which R² in the
folds is greatest, again and again, until the next gains no more than a standard error of R². A
divisor has one sign in the training rows. Where there are many features, terms are made of the
strongest, and where there are many terms, some of the rows choose those that all rows are asked of.

R² in the folds has chosen the terms, so it promises more than other rows will hold: `dvc repro`
tells by the test rows, which this does not look at.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from statistics import fmean, pstdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.columns.inputs import Input, Schema
from stages.columns.terms import write_factor
from stages.predictor.document import Predictor
from stages.predictor.payload import pack
from stages.project import cli, params
from stages.project.cli import InputError, plural
from stages.project.files import SUMS, TRAIN
from stages.project.params import Params
from stages.quantizer.solve import quantize
from stages.regression import sums
from stages.regression.fit import solve
from stages.regression.linear import Floats
from stages.regression.selection import score_each, select
from stages.regression.sums import Sums, leave_out, total
from stages.tables import table
from stages.tables.table import Table

STRONGEST = 40  # features, by their correlation with the target, that terms are made of
TERMS = 60  # that are tried on all rows
SAMPLE = 2**17  # rows, or up to twice as many, by which these are found
VALUES = 2**23  # at once, 64 MB
Blocks = Iterable[tuple[Floats, NDArray[np.int64]]]  # of rows, and the fold of each


class Term(NamedTuple):
    """A product or ratio of two features, by their places."""

    one: int
    operator: str
    other: int

    def of(self, X: Floats) -> Floats:
        one, other = X[:, self.one], X[:, self.other]
        return one * other if self.operator == "*" else one / other


def list_terms(train: Table, correlation: Floats) -> Iterator[Term]:
    """Yield all terms of the features that correlate most with the target."""
    inputs, ends = train.schema.inputs, zip(train.low, train.high, strict=True)
    divides = [low > 0 or high < 0 for low, high in ends]
    strongest = np.argsort(-np.abs(correlation), kind="stable").tolist()
    usable = [j for j in strongest if not inputs[j].missing and not inputs[j].factors]
    for i, j in combinations_with_replacement(sorted(usable[:STRONGEST]), 2):
        if i != j or inputs[i].kind in ("number", "date"):
            yield Term(i, "*", j)
        for one, other in ((i, j), (j, i)):
            if i != j and divides[other]:
                yield Term(one, "/", other)


def sum_terms(blocks: Blocks, terms: Sequence[Term]) -> list[Sums]:
    """Return the sums of features, terms and target of some rows, by fold."""
    found: dict[int, Sums] = {}
    for block, fold in blocks:
        size = max(1, VALUES // (block.shape[1] + len(terms)))
        for start in range(0, len(block), size):
            rows, places = block[start : start + size], fold[start : start + size]
            made = (term.of(rows) for term in terms)
            whole = np.array([*rows[:, :-1].T, *made, rows[:, -1]])
            for j in np.unique(places).tolist():
                part = whole[:, places == j]
                sums = Sums.of([part.T], part.min(axis=1), part.max(axis=1))
                found[j] = found[j] + sums if j in found else sums
    return [found[j] for j in sorted(found)]


def find_strongest(train: Table, terms: Sequence[Term], folds: int) -> list[Term]:
    """Return the terms that alone add most to R² in the folds of some rows, evenly spread."""
    n, gains, step = len(train.schema.inputs), list[float](), max(1, train.n_rows // SAMPLE)
    blocks = train.blocks(train.fold(folds))
    sample = [(block[::step].copy(), fold[::step].copy()) for block, fold in blocks]
    for start in range(0, len(terms), TERMS):
        part = terms[start : start + TERMS]
        pairs = leave_out(sum_terms(sample, part))
        gains += score_each(pairs, range(n), range(n, n + len(part))).tolist()
    best = sorted(range(len(terms)), key=lambda j: -gains[j])[:TERMS]
    return [terms[j] for j in sorted(best)]


def count_bytes(known: Sums, config: Params) -> int:
    """Return the bytes of the model that `dvc repro` would ship for these sums."""
    solution, _ = solve(known, config.train.tolerance)
    bits, n = config.quantize.bits, len(solution.weights)
    model = quantize(solution.model.coef, solution.sums, bits, config.quantize.rounding).model
    inputs = tuple(Input(f"x{j}") for j in range(n))
    schema, ranges = Schema("", "y", "fail", {}, inputs), [(0.0, 0.0)] * n
    return len(pack(Predictor.of(schema, bits, ranges, model.coef.tolist(), model.intercept)))


def suggest(most: int) -> str:
    """Print the terms, each with what it adds, and return what to do."""
    config, learned = params.read(), sums.load(SUMS)
    train, folds = table.read(TRAIN).of(learned.schema), len(learned.folds)
    if train.select:
        where = f"{learned.schema.dataset}: its rows are on a server"
        raise InputError(f"{where}, which so many sums would keep busy: suggest needs files")
    if not learned.r2:
        raise InputError(f"{TRAIN}: there are too few rows to choose by R² in {folds} folds")
    features, n = learned.schema.inputs, len(learned.schema.inputs)
    terms = [*list_terms(train, learned.sums.correlation[:-1, -1])]
    if len(terms) > TERMS:
        terms = find_strongest(train, terms, folds)
    found = sum_terms(train.blocks(train.fold(folds)), terms)
    every, names, mean = total(found), list[str](), 0.0
    print(f"{'R² in the folds':<22}{'gain':>8}{'bytes':>7}  term")
    for chosen, r2 in select(found, n, config.train.tolerance, most):
        gain, mean = fmean(r2) - mean, fmean(r2)
        size = count_bytes(every.of_features(chosen), config)
        name = plural(n, "feature")
        if len(chosen) > n:
            one, operator, other = terms[chosen[-1] - n]
            pair = features[one], features[other]
            name = f" {operator} ".join(write_factor(each.column, each.level) for each in pair)
            names.append(name)
        more = f"{gain:+.4f}" if names else ""
        print(f"{mean:.4f} ± {pstdev(r2):<13.4f}{more:>8}{size:>7}  {name}", flush=True)
    if not names:
        return "no product or ratio gains more than a standard error of R²"
    derived = [*config.load.derived, *names]
    return f"in params.yaml: derived: {json.dumps(derived, ensure_ascii=False)}"


def main() -> None:
    parser = cli.parser("python -m stages.suggest", __doc__)
    parser.add_argument("--most", default=10, type=int, help="terms, 10 by default")
    print(f"suggest: {suggest(parser.parse_args().most)}")


if __name__ == "__main__":
    cli.finish(main, "suggest")
