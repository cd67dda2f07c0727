"""The whole pipeline, run as a person runs it, in a clone of this checkout."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
import yaml

from stages.tables import gather
from tests.conftest import change, commit, copied, reproduce, restore, run

pytestmark = pytest.mark.slow

STAGES = ("load", "train", "quantize", "evaluate")
MADE = ("data/train", "data/test", "models", "reports")


def ran_stages(output: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in MADE
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and "/." not in str(path) and path.suffix != ".png"  # no photograph
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy this checkout with the table and the parameters that it has, and run it."""
    folder = copied(tmp_path_factory.mktemp("own"))
    commit(folder)
    for pointer in gather.FOLDER.rglob("*.dvc"):
        table = pointer.with_suffix("")
        if not table.exists():
            pytest.skip(f"{table} is not here, dvc pull may bring it")
        (shutil.copytree if table.is_dir() else shutil.copy)(table, folder / table)
    reproduce(folder)
    return folder


def test_a_fresh_clone_reproduces_the_committed_bytes(own: Path) -> None:
    drift = run("git", "status", "--porcelain", cwd=own)
    assert drift.stdout == ""


def test_a_second_run_does_nothing(checkout: Path) -> None:
    assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == []


@pytest.mark.parametrize(
    ("before", "after", "stages"),
    [
        ("bits: 8", "bits: 4", ["quantize", "evaluate"]),
        ("seed: 42", "seed: 7", list(STAGES)),
        ("samples: 10", "samples: 11", ["evaluate"]),
        ("min_r2: null", "min_r2: 0.4", []),
        ("rounding: optimal", "rounding: nearest", ["quantize", "evaluate"]),
    ],
)
def test_a_parameter_reruns_what_depends_on_it(
    before: str, after: str, stages: list[str], checkout: Path
) -> None:
    change(checkout, before, after)
    assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == stages


@pytest.mark.parametrize(
    ("before", "after"), [("bits: 8", "bits: 4"), ("seed: 42", "seed: 1234567")]
)
def test_a_parameter_and_back_restores_without_running(
    before: str, after: str, checkout: Path
) -> None:
    outputs = contents(checkout)
    change(checkout, before, after)
    assert ran_stages(run("dvc", "repro", cwd=checkout).stdout)
    assert contents(checkout) != outputs
    change(checkout, after, before)
    back = run("dvc", "repro", cwd=checkout).stdout
    assert ran_stages(back) == []
    assert "Stage 'evaluate' is cached" in back
    assert contents(checkout) == outputs


def test_metrics_fit_a_terminal(checkout: Path) -> None:
    lines = run("dvc", "metrics", "show", cwd=checkout).stdout.splitlines()
    assert max(map(len, lines)) <= 100
    for name in ("growth_ppm", "payload_bits", "test_r2.float", "test_r2.quantized"):
        assert name in lines[0]


def test_a_fresh_clone_predicts_before_any_training(clone: Path, tmp_path: Path) -> None:
    run("git", "clone", "-q", str(clone), "fresh", cwd=tmp_path)
    done = run("python", "-m", "stages.predict", cwd=tmp_path / "fresh")
    assert done.returncode == 0, done.stderr
    assert "all 10 predictions are those that the pipeline recorded" in done.stdout


def test_a_change_of_the_scoring_reruns_nothing(checkout: Path) -> None:
    with (checkout / "stages/predictor/scoring.py").open("a", encoding="utf-8") as module:
        module.write("# a comment\n")
    assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == []


def test_a_code_change_reruns_what_depends_on_it(checkout: Path) -> None:
    with (checkout / "stages/quantizer/solve.py").open("a", encoding="utf-8") as module:
        module.write("# a comment\n")
    assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == ["quantize"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bits: 8", "bits: 0", "quantize: params.yaml: quantize.bits: Expected `int` >= 1"),
        ("seed: 42", "seed: x", "load: params.yaml: load.seed: Expected `int`"),
        ("test_size: 0.2", "test_size: 0.9999", "load: load.test_size 0.9999 leaves"),
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
    assert run("git", "restore", "models", "reports", cwd=checkout).returncode == 0
    assert run("dvc", "checkout", cwd=checkout).returncode == 0
    assert contents(checkout) == outputs


@pytest.mark.parametrize("stage", ["load", "quantize", "evaluate", "gate"])
def test_broken_parameters_are_told_before_anything_slow(stage: str, checkout: Path) -> None:
    (checkout / "params.yaml").write_text("load: [", encoding="utf-8")
    done = run("python", "-m", f"stages.{stage}", cwd=checkout)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{stage}: params.yaml: not valid YAML")
    assert done.stderr.count("\n") == 1
    imports = run("python", "-X", "importtime", "-m", f"stages.{stage}", cwd=checkout).stderr
    assert "numpy" in imports or stage == "gate"
    assert "sklearn" not in imports


@pytest.mark.parametrize("stage", [*STAGES, "gate", "report"])
def test_help_explains_a_stage(stage: str, checkout: Path) -> None:
    done = run("python", "-m", f"stages.{stage}", "--help", cwd=checkout)
    assert done.returncode == 0
    assert f"usage: python -m stages.{stage}" in done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_leaves_every_output_whole(stage: str, checkout: Path) -> None:
    outputs = contents(checkout)
    seconds = 0.0
    while True:  # kill it ever later, until it comes to its end
        seconds += 0.7
        process = subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}"], cwd=checkout, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        left = contents(checkout)
        assert {name: left[name] for name in outputs} == outputs
        if process.returncode == 0:
            break
    assert left == outputs


def test_a_load_that_is_told_to_stop_leaves_nothing_behind(checkout: Path) -> None:
    outputs, before = contents(checkout), set(checkout.glob("data/.*.part"))
    for tenths in range(1, 100):  # ever later, until it comes to its end
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.load"], cwd=checkout, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(tenths / 10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
        assert contents(checkout) == outputs
        assert set(checkout.glob("data/.*.part")) == before
        if process.returncode == 0:
            return
    pytest.fail("it does not come to its end")


def test_the_gate_stops_what_falls_short_but_not_exploring(checkout: Path) -> None:
    gate = run("python", "-m", "stages.gate", cwd=checkout)
    assert (gate.returncode, gate.stdout) == (0, "gate: passed: drop ≤ 0.001\n")
    change(checkout, "min_r2: null", "min_r2: 0.4")
    gate = run("python", "-m", "stages.gate", cwd=checkout)
    assert (gate.returncode, gate.stdout) == (0, "gate: passed: test R² ≥ 0.4, drop ≤ 0.001\n")
    change(checkout, "min_r2: 0.4", "min_r2: 0.5")
    assert run("dvc", "repro", cwd=checkout).returncode == 0
    gate = run("python", "-m", "stages.gate", cwd=checkout)
    assert gate.returncode == 1
    assert "gate.min_r2 wants at least 0.5" in gate.stderr


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("quantize", "models/model.joblib"),
        ("quantize", "models/sums.json"),
        ("evaluate", "models/sums.json"),
        ("evaluate", "models/unquant_params.joblib"),
        ("evaluate", "models/quant_params.joblib"),
    ],
)
def test_a_pickle_of_something_else_is_named(stage: str, file: str, checkout: Path) -> None:
    (checkout / file).unlink()  # it may be a link into DVC's cache
    joblib.dump({"something": 1}, checkout / file)
    done = run("python", "-m", f"stages.{stage}", cwd=checkout)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{file} is damaged" in done.stderr


def test_an_experiment_changes_a_parameter(checkout: Path) -> None:
    done = run("dvc", "exp", "run", "-S", "quantize.bits=4", cwd=checkout)
    assert done.returncode == 0, done.stderr
    diff = run("dvc", "metrics", "diff", cwd=checkout)
    assert "growth_ppm" in diff.stdout
    params = run("dvc", "params", "diff", cwd=checkout)
    assert "quantize.bits" in params.stdout


def test_an_experiment_in_a_workspace_of_its_own_finds_the_table(checkout: Path) -> None:
    done = run("dvc", "exp", "run", "--temp", "-S", "load.seed=7", cwd=checkout)
    assert done.returncode == 0, done.stderr


def test_a_queue_of_experiments_is_made(checkout: Path) -> None:
    done = run("dvc", "exp", "run", "--queue", "-S", "quantize.bits=range(1,9)", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Queued experiment") == 8
    assert run("dvc", "queue", "remove", "--queued", cwd=checkout).returncode == 0


def test_diabetes_goes_through_the_whole_pipeline(checkout: Path) -> None:
    metrics = yaml.safe_load((checkout / "reports/metrics.json").read_text(encoding="utf-8"))
    assert metrics["test_r2"]["quantized"] == pytest.approx(0.4526, abs=1e-3)


def test_dvc_sees_a_table_of_one_s_own_change(checkout: Path) -> None:
    table = checkout / "data/raw/plants.csv"
    table.write_text("age,height\n" + "".join(f"{i},{2 * i + i % 3}\n" for i in range(50)))
    change(checkout, "diabetes", "data/raw/plants.csv")
    change(checkout, "target: null", "target: height")
    try:
        assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == list(STAGES)
        assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == []
        with table.open("a") as file:
            file.write("50,101\n")
        assert "data/raw" in run("dvc", "status", cwd=checkout).stdout
        assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == list(STAGES)
        # in DVC's cache instead of git, and back from there
        assert run("dvc", "add", "data/raw/plants.csv", cwd=checkout).returncode == 0
        assert run("git", "check-ignore", "data/raw/plants.csv", cwd=checkout).returncode == 0
        assert run("dvc", "repro", cwd=checkout).returncode == 0
        table.unlink()
        assert run("dvc", "checkout", cwd=checkout).returncode == 0
        assert ran_stages(run("dvc", "repro", cwd=checkout).stdout) == []
        # a workspace of its own has only what git and DVC know
        run("git", "add", "-A", cwd=checkout)
        done = run("dvc", "exp", "run", "--temp", "-S", "load.seed=7", cwd=checkout)
        assert done.returncode == 0, done.stderr
    finally:
        run("git", "reset", "-q", "--hard", cwd=checkout)
        run("git", "clean", "-fdxq", "data/raw", cwd=checkout)


# OpenBLAS calls the kernel of its Prescott "Katmai"
KERNELS = {
    "Prescott": "Katmai",
    "Nehalem": "Nehalem",
    "Sandybridge": "Sandybridge",
    "Haswell": "Haswell",
}
KERNEL_IN_USE = """
import numpy, threadpoolctl
print(threadpoolctl.threadpool_info()[0]["architecture"])
"""
ALL_STAGES = """
import functools, runpy, sys
import duckdb
_, threads, *stages = sys.argv
duckdb.connect = functools.partial(duckdb.connect, config={"threads": int(threads)})
for stage in stages:
    sys.argv = [stage]
    try:
        runpy.run_module(f"stages.{stage}", run_name="__main__")
    except SystemExit as done:
        assert done.code == 0, stage
"""


# every kernel, and every pair of numbers of threads
@pytest.mark.parametrize(
    ("kernel", "blas_threads", "duckdb_threads"),
    [
        ("Prescott", 1, 2),
        ("Nehalem", 2, 1),
        ("Sandybridge", 1, 1),
        ("Haswell", 2, 2),
    ],
)
def test_every_cpu_and_number_of_threads_gives_the_same_bytes(
    kernel: str, blas_threads: int, duckdb_threads: int, own: Path
) -> None:
    restore(own)
    env = {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": str(blas_threads)}
    if kernel in ("Prescott", "Nehalem"):  # numpy's own loops, too, as on a CPU without AVX
        env["NPY_DISABLE_CPU_FEATURES"] = "X86_V4,X86_V3"
    used = run("python", "-c", KERNEL_IN_USE, cwd=own, env=env).stdout.strip()
    if used != KERNELS[kernel]:
        pytest.skip(f"OpenBLAS runs {used} where {kernel} was asked for")
    outputs = contents(own)
    for name in outputs:
        (own / name).unlink()
    stages = (*STAGES, "report")
    done = run("python", "-c", ALL_STAGES, str(duckdb_threads), *stages, cwd=own, env=env)
    assert done.returncode == 0, done.stderr
    assert contents(own) == outputs
