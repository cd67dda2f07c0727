"""The whole pipeline, run as a person runs it, in a clone of this checkout."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import joblib
import pytest

from tests.conftest import change, make_clone, restore, run, succeed

pytestmark = pytest.mark.slow

STAGES = ("load", "train", "quantize", "evaluate")
MADE = ("data/train", "data/test", "models", "reports")


def repro(checkout: Path) -> list[str]:
    """Run what DVC finds stale, and return the stages that ran."""
    output = succeed("dvc", "repro", cwd=checkout)
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in MADE
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and "/." not in str(path)
    }


# the table and the parameters of this checkout


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy this checkout with the table and the parameters that it has, and run it."""
    return make_clone(tmp_path_factory.mktemp("own"))


def test_a_fresh_clone_reproduces_the_committed_bytes(own: Path) -> None:
    assert succeed("git", "diff", "--stat", "copied", "cloned", cwd=own) == ""


KERNEL_IN_USE = """
import numpy, threadpoolctl
print(threadpoolctl.threadpool_info()[0]["architecture"])
"""
ALL_STAGES = """
import functools, sys
import duckdb
from stages import evaluate, load, quantize, report, train
duckdb.connect = functools.partial(duckdb.connect, config={"threads": int(sys.argv[1])})
for stage in (load, train, quantize, evaluate, report):
    stage.main()
"""


# every kernel, and every pair of numbers of threads; Prescott's and Nehalem's CPUs have no AVX
@pytest.mark.parametrize(
    ("kernel", "in_use", "blas_threads", "duckdb_threads"),
    [
        ("Prescott", "Katmai", 1, 2),
        ("Nehalem", "Nehalem", 2, 1),
        ("Sandybridge", "Sandybridge", 1, 1),
        ("Haswell", "Haswell", 2, 2),
    ],
)
def test_every_cpu_and_number_of_threads_gives_the_same_bytes(
    kernel: str, in_use: str, blas_threads: int, duckdb_threads: int, own: Path
) -> None:
    restore(own)
    env = {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": str(blas_threads)}
    if kernel in ("Prescott", "Nehalem"):  # numpy's own loops, too
        env["NPY_DISABLE_CPU_FEATURES"] = "X86_V4,X86_V3"
    used = run("python", "-c", KERNEL_IN_USE, cwd=own, env=env).stdout.strip()
    if used != in_use:
        pytest.skip(f"OpenBLAS runs {used} where {kernel} was asked for")
    outputs = contents(own)
    for name in outputs:
        (own / name).unlink()
    done = run("python", "-c", ALL_STAGES, str(duckdb_threads), cwd=own, env=env)
    assert done.returncode == 0, done.stderr
    assert contents(own) == outputs


# what DVC runs again


@pytest.mark.parametrize(
    ("before", "after", "stages"),
    [
        ("bits: 8", "bits: 8", []),
        ("bits: 8", "bits: 4", ["quantize", "evaluate"]),
        ("seed: 42", "seed: 7", list(STAGES)),
        ("samples: 10", "samples: 11", ["evaluate"]),
        ("min_r2: null", "min_r2: 0.4", []),
    ],
)
def test_a_parameter_reruns_what_depends_on_it_and_back_restores_without_running(
    before: str, after: str, stages: list[str], checkout: Path
) -> None:
    outputs = contents(checkout)
    change(checkout, before, after)
    assert repro(checkout) == stages
    assert (contents(checkout) != outputs) == bool(stages)
    change(checkout, after, before)
    assert repro(checkout) == []
    assert contents(checkout) == outputs


def test_experiments_compare_find_the_table_and_queue(checkout: Path) -> None:
    succeed("dvc", "exp", "run", "-S", "quantize.bits=4", cwd=checkout)
    metrics = succeed("dvc", "metrics", "diff", cwd=checkout)
    assert "growth_ppm" in metrics
    assert max(map(len, metrics.splitlines())) <= 100
    assert "quantize.bits" in succeed("dvc", "params", "diff", cwd=checkout)
    # in a workspace of its own
    succeed("dvc", "exp", "run", "--temp", "-S", "load.seed=7", cwd=checkout)
    queued = ("--queue", "-S", "quantize.bits=range(1,9)")
    assert succeed("dvc", "exp", "run", *queued, cwd=checkout).count("Queued experiment") == 8
    succeed("dvc", "queue", "remove", "--queued", cwd=checkout)


def test_dvc_sees_a_table_of_one_s_own_change(checkout: Path) -> None:
    table = checkout / "data/raw/plants.csv"
    table.write_text("age,height\n" + "".join(f"{i},{2 * i + i % 3}\n" for i in range(50)))
    change(checkout, "diabetes", "data/raw/plants.csv")
    change(checkout, "target: null", "target: height")
    assert repro(checkout) == list(STAGES)
    with table.open("a") as file:
        file.write("50,101\n")
    assert repro(checkout) == list(STAGES)
    # a workspace of its own has only what git and DVC know
    succeed("git", "add", "-A", cwd=checkout)
    succeed("dvc", "exp", "run", "--temp", "-S", "load.seed=7", cwd=checkout)


# what goes wrong


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bits: 8", "bits: 0", "quantize: params.yaml: quantize.bits"),
        ("test_size: 0.2", "test_size: 0.9999", "load: diabetes: load.test_size 0.9999"),
    ],
)
def test_a_bad_parameter_loses_no_output(
    before: str, after: str, message: str, checkout: Path
) -> None:
    outputs = contents(checkout)
    change(checkout, before, after)
    done = run("dvc", "repro", cwd=checkout)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    # DVC removes what a stage has made before it runs the stage, and git or its cache has it
    left = contents(checkout)
    assert {name: outputs[name] for name in left} == left
    succeed("git", "restore", "models", "reports", cwd=checkout)
    succeed("dvc", "checkout", cwd=checkout)
    assert contents(checkout) == outputs


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_ended_leaves_every_output_whole(stage: str, checkout: Path) -> None:
    outputs = contents(checkout)
    for n in count(1):  # ever later, until the stage comes to its end
        before = {*checkout.rglob("*.part")}
        command = [sys.executable, "-m", f"stages.{stage}"]
        process = subprocess.Popen(command, cwd=checkout, stderr=subprocess.DEVNULL)
        is_killed = n % 2  # else it is told to stop, and tidies up
        try:
            process.wait(0.35 * n)
        except subprocess.TimeoutExpired:
            (process.kill if is_killed else process.terminate)()
            process.wait()
        left = contents(checkout)
        assert {name: left[name] for name in outputs} == outputs
        assert is_killed or {*checkout.rglob("*.part")} == before
        if process.returncode == 0:
            return


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("quantize", "models/model.joblib"),
        ("evaluate", "models/sums.json"),
        ("evaluate", "models/unquant_params.joblib"),
        ("evaluate", "models/quant_params.joblib"),
    ],
)
def test_a_damaged_file_is_named(stage: str, file: str, checkout: Path) -> None:
    (checkout / file).unlink()  # it may be a link into DVC's cache
    joblib.dump({"something": 1}, checkout / file)
    done = run("python", "-m", f"stages.{stage}", cwd=checkout)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{file} is damaged" in done.stderr


def test_the_gate_stops_what_falls_short_but_not_exploring(checkout: Path) -> None:
    gate = succeed("python", "-m", "stages.gate", cwd=checkout)
    assert gate == "gate: passed: drop ≤ 0.001\n"
    change(checkout, "min_r2: null", "min_r2: 0.4")
    gate = succeed("python", "-m", "stages.gate", cwd=checkout)
    assert gate == "gate: passed: test R² ≥ 0.4, drop ≤ 0.001\n"
    change(checkout, "min_r2: 0.4", "min_r2: 0.5")
    assert repro(checkout) == []
    done = run("python", "-m", "stages.gate", cwd=checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert "gate.min_r2 wants at least 0.5" in done.stderr
