"""Compare the server with FastAPI and scikit-learn: requests a second, slowest hundredth, memory.

Needs wrk, `dvc repro` and a model of numbers alone. Rounds are interleaved, and the medians
compared. Each server is one process, asked for one row at a time over 16 connections.
"""

import argparse
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from stages.predictor import document
from stages.project.files import MODEL, PREDICTOR

FASTAPI = """
import sys
sys.modules["pandas"] = None  # scikit-learn loads it where it is, to no purpose here
import joblib, numpy, uvicorn
from fastapi import FastAPI
from pydantic import create_model
del sys.modules["pandas"]
path, port, *names = sys.argv[1:]
model, app = joblib.load(path), FastAPI()
Row = create_model("Row", **{name: (float, ...) for name in names})
@app.post("/predict")
def predict(row: Row):
    values = numpy.array([[getattr(row, name) for name in names]])
    return {"prediction": float(model.predict(values)[0])}
uvicorn.run(app, port=int(port), log_level="error", access_log=False)
"""
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
"""
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Speed(NamedTuple):
    """Requests a second, milliseconds that 99 % of them take at most, and MB of memory."""

    rate: float
    p99: float
    memory: float


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server until it listens, and end it."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    sys.exit(f"{' '.join(command[:3])} ended")
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def measure(command: Sequence[str], port: int, script: Path, seconds: int) -> Speed:
    with running(command, port) as pid:
        url = f"http://127.0.0.1:{port}/predict"
        wrk = ["wrk", "-t1", "-c16", f"-d{seconds}", "--latency", "-s", str(script), url]
        text = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
        status = Path(f"/proc/{pid}/status").read_text()
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(text)
    [(p99, unit)] = re.findall(r"99%\s+([\d.]+)(us|ms|s)\n", text)
    [rate] = re.findall(r"Requests/sec:\s+([\d.]+)", text)
    [resident] = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return Speed(float(rate), float(p99) * UNITS[unit], int(resident) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians are taken")
    parser.add_argument("--seconds", type=int, default=4, help="of each round and server")
    args = parser.parse_args()
    missing = [each for each in ("fastapi", "granian", "uvicorn") if not find_spec(each)]
    if missing := missing + [each for each in ("wrk",) if not shutil.which(each)]:
        print(f"needs {', '.join(missing)}", file=sys.stderr)
        sys.exit(2)
    features = document.load(PREDICTOR).features
    names, port = [feature.name for feature in features], str(free_port())
    if any(
        feature.kind != "number" or feature.missing or feature.fill is not None
        for feature in features
    ):
        print("nothing to compare: the model takes more than numbers, scikit-learn's has features")
        return
    commands = {
        "serve": [sys.executable, "-m", "stages.serve", "--port", port],
        "FastAPI and scikit-learn": [sys.executable, "-c", FASTAPI, str(MODEL), port, *names],
    }
    body = json.dumps({feature.name: feature.min for feature in features})
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        script.write_text(SCRIPT % json.dumps(body), encoding="utf-8")
        speeds: dict[str, list[Speed]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                speeds[name].append(measure(command, int(port), script, args.seconds))
    medians = [Speed(*map(statistics.median, zip(*each, strict=True))) for each in speeds.values()]
    for name, (rate, p99, memory) in zip(speeds, medians, strict=True):
        print(f"{name:26} {rate:8,.0f} requests/s {p99:7.2f} ms {memory:6.0f} MB")
    ours, theirs = medians
    ratios = ours.rate / theirs.rate, theirs.p99 / ours.p99, theirs.memory / ours.memory
    print("ratio: {:.1f} times the requests, p99 {:.1f} times, memory {:.1f} times".format(*ratios))


if __name__ == "__main__":
    main()
