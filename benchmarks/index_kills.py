"""Real commands killed at random moments: what is in the index afterwards?

    python benchmarks/index_kills.py [--index URL] [--kills 40] [--seed 7]

Sixty files change from turn to turn. In each turn `rag ingest --prune`, `rag index remove`,
`compact` or `rebuild` gets SIGKILL at a moment drawn from the command's usual time. Then
`rag index verify` must find nothing, and `rag ingest --prune`, left in peace, must end with the
chunks that an index has which nobody disturbed. URL is that of another store than a folder, such as
postgresql://user@host/database?collection=name. Prints how many commands were killed, and of which
kind.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

FILES = 60
PARTS = 8
KILLED, CALM = "killed.yaml", "calm.yaml"
SKIPPED = 3
"""Exit code: done, but some files were skipped."""


def rag(folder: Path, pipeline: str, command: Sequence[str], seconds: float | None = None) -> bool:
    """Run a command.

    Args:
        folder: Has the files.
        pipeline: Its file, which names the index.
        command: The command.
        seconds: Kill it after that time.

    Returns:
        Whether it was killed.
    """
    line = [sys.executable, "-m", "rag", *command, "-c", pipeline]
    process = subprocess.Popen(
        line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    if process.returncode not in (0, SKIPPED):
        raise SystemExit(f"{' '.join(command)}: {said}")
    return False


def change(files: Path, chance: random.Random) -> None:
    """Write a third of the files anew, and remove some."""
    files.mkdir(exist_ok=True)
    for number in range(FILES):
        file = files / f"{number:02}.md"
        drawn = chance.random()
        if drawn < 0.05 and file.exists():
            file.unlink()
        elif drawn < 0.35 or not file.exists():
            parts = (
                f"# Part {part}\n\nLock {chance.randint(1, 99)} is kept by {chance.randint(1, 999)}"
                for part in range(PARTS)
            )
            file.write_text("\n\n".join(parts))


def chunks(folder: Path, pipeline: str) -> list[str]:
    """All chunks, as they are exported."""
    rag(folder, pipeline, ["index", "export", "chunks.jsonl"])
    rows = (folder / "chunks.jsonl").read_text().splitlines()
    (folder / "chunks.jsonl").unlink()
    return sorted(json.dumps(json.loads(row), sort_keys=True) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--index", default="killed")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    ingest = ["ingest", "files", "--prune"]
    killed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for pipeline, index in ((KILLED, given.index), (CALM, "calm")):
            resources = f"resources: {{index: '{index}', embedder: all-minilm-l6-v2}}"
            (folder / pipeline).write_text(f"{resources}\nsteps: [{{use: dense}}]\n")
        usual: dict[str, float] = {}
        while killed.total() < given.kills:
            change(folder / "files", chance)
            first = next((folder / "files").iterdir()).relative_to(folder)
            commands = {
                "ingest": ingest,
                "remove": ["index", "remove", str(first)],
                "compact": ["index", "compact"],
                "rebuild": ["index", "rebuild"],
            }
            kind = chance.choice(list(commands)) if len(usual) == len(commands) else "ingest"
            for new in set(commands) - set(usual):
                started = time.perf_counter()
                rag(folder, KILLED, commands[new] if usual else ingest)
                usual[new] = time.perf_counter() - started
            if rag(folder, KILLED, commands[kind], chance.uniform(0.3, 1) * usual[kind]):
                killed[kind] += 1
            rag(folder, KILLED, ["index", "verify"])
            for pipeline in (KILLED, CALM):
                rag(folder, pipeline, ingest)
            if chunks(folder, KILLED) != chunks(folder, CALM):
                raise SystemExit(f"after {dict(killed)}: other chunks than in the calm index")
            print(dict(killed), end="\r", flush=True)
    print(f"killed {killed.total()}: {dict(killed)}; nothing lost, nothing twice, all verified")


if __name__ == "__main__":
    main()
