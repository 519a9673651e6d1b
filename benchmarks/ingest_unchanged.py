"""How long does `rag ingest` take when nothing has changed?

    python benchmarks/ingest_unchanged.py FOLDER [--files 10000] [--runs 5]

Files of two sentences are made and ingested in FOLDER, and used again if they are there; one in a
hundred is a PDF that cannot be read. Prints seconds of the whole command, best and worst of the
runs, and whether it imports torch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

COMMAND = "import sys; from rag.cli.main import main; main()"
SKIPPED = 3
"""Exit code: done, but some files were skipped."""


def rag(folder: Path, *flags: str) -> str:
    """Ingest the files; returns what Python prints to standard error."""
    command = [sys.executable, *flags, "-c", COMMAND, "ingest", "files"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != SKIPPED:
        raise SystemExit(done.stdout + done.stderr)
    return done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    files = arguments.folder / "files"
    if not files.exists():
        for number in range(arguments.files):
            file = files / f"{number // 500}" / f"{number}.{'txt' if number % 100 else 'pdf'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"Lock {number} opens at {number % 24}. Nobody fishes there.\n")
    rag(arguments.folder)
    taken = []
    for _ in range(arguments.runs):
        started = time.perf_counter()
        rag(arguments.folder)
        taken.append(time.perf_counter() - started)
    imported = [line.split("|")[-1].strip() for line in
                rag(arguments.folder, "-X", "importtime").splitlines() if "|" in line]  # fmt: skip
    print(f"{arguments.files} unchanged files: {min(taken):.2f} to {max(taken):.2f} s")
    print(f"torch is imported: {'yes' if 'torch' in imported else 'no'}")


if __name__ == "__main__":
    main()
