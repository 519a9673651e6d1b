"""How long until the library is imported, the command answers, and a model says its first token.

    python benchmarks/startup.py [--rounds 9]

Prints the best and the median of several processes, and the median of their CPU seconds; the
interpreter's own start is taken off the import, as it is nobody's to save. `first token` opens the
default language model and asks it one question; `rag ask` is a question to the handbook, from the
start of the process to the first token of its answer, and `rag ask, up` to its end, asked of the
process of `rag up`. Models are opened once before, as each is compared with its library then. CPU
seconds hold on a machine that others use too.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

PROGRAM = """
import asyncio
from rag.models import LLM, Prompt, Sampling
llm = LLM.load(LLM.default)
asyncio.run(llm.generate(Prompt("What is the capital of France?"), Sampling(max_tokens=1)))
"""
ASK = """
import os, sys
from rag.cli.answer import items
from rag.cli.config import load
for name, value in items(load(None), {"query": sys.argv[1]}, trace=False):
    if name == "token":
        os._exit(0)
raise SystemExit("there was no token")
"""
QUESTION = "Who may open the north lock?"
RESIDENT = "rag ask, up"
HANDBOOK = Path(__file__).parents[1] / "examples" / "handbook"


def seconds(command: list[str], folder: str) -> tuple[float, float]:
    """How long the command takes, and its CPU time."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    took, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
        "first token": [sys.executable, "-c", PROGRAM],
        "rag ask": [sys.executable, "-c", ASK, QUESTION],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (*commands, RESIDENT)}
    with TemporaryDirectory() as folder:
        seconds([rag, "ingest", str(HANDBOOK)], folder)
        for name in ("first token", "rag ask"):
            seconds(commands[name], folder)
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(seconds(command, folder))
        seconds([rag, "up"], folder)
        try:
            for _ in range(rounds):
                times[RESIDENT].append(seconds([rag, "ask", QUESTION], folder))
        finally:
            seconds([rag, "down"], folder)
    start = [statistics.median(each) for each in zip(*times["python"], strict=True)]
    print(f"{'':16}{'best s':>8}{'median s':>10}{'CPU s':>8}")
    for name, found in times.items():
        wall, cpu = start if name.startswith("import") else (0.0, 0.0)
        took, busy = zip(*found, strict=True)
        print(
            f"{name:16}{min(took) - wall:8.3f}{statistics.median(took) - wall:10.3f}"
            f"{statistics.median(busy) - cpu:8.3f}"
        )


if __name__ == "__main__":
    main()
