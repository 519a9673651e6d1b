"""How long until the library is imported and the command answers.

    python benchmarks/startup.py [--rounds 9]

Prints the best and the median of several processes; the interpreter's own start is taken off the
import, as it is nobody's to save.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter


def seconds(command: list[str]) -> float:
    """How long the command takes."""
    started = perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    rag = str(Path(sys.executable).parent / "rag")
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import rag": [sys.executable, "-c", "import rag"],
        "import rag.flow": [sys.executable, "-c", "import rag.flow"],
        "rag --help": [rag, "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds(command))
    start = statistics.median(times["python"])
    print(f"{'':16}{'best s':>8}{'median s':>10}")
    for name, found in times.items():
        off = start if name.startswith("import") else 0.0
        print(f"{name:16}{min(found) - off:8.3f}{statistics.median(found) - off:10.3f}")


if __name__ == "__main__":
    main()
