"""Predicts the used cars in the image: `pytest -m container`."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from stages import load, quantize, train
from stages.project.files import PREDICTOR
from tests.cars import RAW, cars, checkout, write

pytestmark = pytest.mark.container

IMAGE = "predictor:cars"
LOCKED = (
    *("--read-only", "--network", "none", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--user", "12345:12345"),
    *("--memory", "512m", "--memory-swap", "512m", "--cpus", "1"),
)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    command = ("docker", "build", "--network", "host", "-t", IMAGE, ".")
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    yield IMAGE
    subprocess.run(["docker", "rmi", IMAGE], capture_output=True, check=True)


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("missing", ["mean", "drop"])
def test_another_predictor_over_that_of_the_image_gives_the_bits_of_this_machine(
    image: str, missing: str, form: str, tmp_path: Path
) -> None:
    folder = checkout(tmp_path / "cars", missing=missing)
    with chdir(folder):
        write(cars(600), form)
        for stage in (load, train, quantize):
            stage.main()
    for path in (folder, folder / "data", folder / "models", *folder.rglob("*.json")):
        path.chmod(0o755)
    volumes = ("-v", f"{folder}:/data:ro")
    mounted = ("-v", f"{folder / PREDICTOR}:/opt/project/{PREDICTOR}:ro")
    command = ("predict", str(RAW))
    inside = ("docker", "run", "--rm", *LOCKED, *volumes, *mounted, image, *command)
    outside = (sys.executable, "-m", "stages.predict", str(RAW))
    here, there = (
        subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True)
        for command in (outside, inside)
    )
    assert (there.returncode, there.stdout, there.stderr) == (0, here.stdout, here.stderr)
    assert there.stdout.count(b"\n") > 500
