"""Mutation testing, bounded in time: which changes of the code do the tests not notice?

    python -m tests.mutation [--paths rag/flow ...] [--tests tests/flow ...] [--minutes 20]

Works on a copy in a temporary folder, in which the links `rag/operators` and `rag/pipelines` are
real folders: `operators/x` is mutated as `rag/operators/x`. Prints how many mutants were killed,
survived, or were not reached in time, and the differences of those that survived.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("tests", "docs", "examples", "benchmarks", "operators", "pipelines")
FILES = ("pyproject.toml", "README.md", "LICENSE")
MUTMUT = Path(sys.executable).parent / "mutmut"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def copy(target: Path) -> None:
    """Copy what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("rag", *FOLDERS):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, target)


def configure(target: Path, paths: list[str], tests: list[str]) -> None:
    """Write mutmut's settings into the copy."""
    named = [f"rag/{path}" if path.startswith("operators") else path for path in paths]
    only = [path if path.endswith(".py") else f"{path.rstrip('/')}/*" for path in named]
    with (target / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(
            "\n[tool.mutmut]\n"
            'source_paths = ["rag"]\n'
            f"only_mutate = {only!r}\n"
            f"also_copy = {[*FOLDERS, *FILES]!r}\n"
            f"pytest_add_cli_args_test_selection = {tests!r}\n"
            'pytest_add_cli_args = ["-p", "no:xdist", "-p", "no:cacheprovider"]\n'
            "use_git_change_detection = false\n"
        )


def run(folder: Path, minutes: float, jobs: int) -> None:
    """Run mutmut until it is done or the time is over."""
    log = folder / "mutmut.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(MUTMUT), "run", "--max-children", str(jobs)],
            cwd=folder, env={**os.environ, **ENVIRONMENT}, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"stopped after {minutes:g} minutes")
            return
    if code:
        print(log.read_text(encoding="utf-8", errors="replace")[-4000:])


def ask(folder: Path, *arguments: str) -> str:
    """What mutmut prints."""
    env = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(
        [str(MUTMUT), *arguments],
        cwd=folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def report(folder: Path) -> None:
    """Print the counts, and the differences of the mutants that survived."""
    lines = ask(folder, "results", "--all", "true").splitlines()
    states = dict(line.strip().rsplit(": ", 1) for line in lines if ": " in line)
    counts = Counter(states.values())
    print(", ".join(f"{count} {state}" for state, count in counts.most_common()) or "no mutants")
    for name in (name for name, state in states.items() if state == "survived"):
        print(f"\n{name}")
        for line in ask(folder, "show", name).splitlines():
            if line.startswith(("-", "+")) and not line.startswith(("---", "+++")):
                print(line)


def main() -> None:
    """Mutate, test, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", nargs="+", default=["rag/flow"], help="files and folders")
    parser.add_argument("--tests", nargs="+", default=["tests/flow"], help="what must notice")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rag-mutation-") as scratch:
        folder = Path(scratch)
        copy(folder)
        configure(folder, given.paths, given.tests)
        run(folder, given.minutes, given.jobs)
        report(folder)


if __name__ == "__main__":
    main()
