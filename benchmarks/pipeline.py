"""Measure the CPU time of a full `dvc repro` against its floor, and print the ratio.

The floor is what no code of the stages can avoid: one `dvc repro` that has nothing to do, one
import of `sklearn.linear_model` for each stage that needs scikit-learn, and one of numpy for each
other stage. All are measured in turn in every round, and their medians compared.
"""

import statistics
import sys

from benchmarks.cost import measure

ROUNDS = 3
WITH_SKLEARN = ("load", "train", "quantize")  # quantize unpickles the model
WITHOUT_SKLEARN = ("evaluate",)


def main() -> None:
    commands = {
        "dvc repro --force": ("dvc", "repro", "--force"),
        "dvc repro, nothing to do": ("dvc", "repro"),
        "import sklearn.linear_model": (sys.executable, "-c", "import sklearn.linear_model"),
        "import numpy": (sys.executable, "-c", "import numpy"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            seconds[name].append(measure(command).cpu)
    full, idle, sklearn, numpy = (statistics.median(each) for each in seconds.values())
    floor = idle + len(WITH_SKLEARN) * sklearn + len(WITHOUT_SKLEARN) * numpy
    for name, each in seconds.items():
        print(f"{name:30} {statistics.median(each):6.2f} s CPU")
    print(f"full run / floor = {full:.2f} / {floor:.2f} = {full / floor:.2f}")


if __name__ == "__main__":
    main()
