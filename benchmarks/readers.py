"""What is read of the files in a folder: read, refused and seconds, by kind.

    python benchmarks/readers.py FOLDER [--most 400] [--show]

With `--show` the reason for each file that is refused, and what could not be read of others.
Seconds are of the wall clock, of one file after another; the process that reads is started before.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path, PurePath
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rag.errors import LoadError
from rag.index.readers.discover import FileRef, Skipped, discover
from rag.index.readers.read import read_file


def kind_of(path: Path) -> str:
    return PurePath(path).suffix.lower().lstrip(".") or "no ending"


def chosen(found: list[FileRef | Skipped], most: int) -> list[FileRef | Skipped]:
    """At most so many files, of all kinds alike, the same every time."""
    kinds: dict[str, list[FileRef | Skipped]] = defaultdict(list)
    for one in found:
        kinds[kind_of(one.path)].append(one)
    draw = random.Random(0)
    for group in kinds.values():
        draw.shuffle(group)
    taken: list[FileRef | Skipped] = []
    while len(taken) < most and any(kinds.values()):
        taken += [group.pop() for group in kinds.values() if group][: most - len(taken)]
    return taken


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--most", type=int, default=400)
    options.add_argument("--show", action="store_true")
    given = options.parse_args()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    for file in chosen(list(discover([given.folder])), given.most):
        kind, warnings = kind_of(file.path), []
        counts[kind]["files"] += 1
        started = perf_counter()
        try:
            if isinstance(file, Skipped):
                raise LoadError(file.reason)
            texts = [document.page_content for document in read_file(file, warnings.append)]
        except LoadError as error:
            counts[kind]["refused"] += 1
            warnings.append(f"refused: {error.what}")
        else:
            counts[kind]["read"] += 1
            counts[kind]["characters"] += sum(map(len, texts))
        seconds[kind] += perf_counter() - started
        if given.show:
            for text in warnings:
                print(f"{file.path}: {text}", file=sys.stderr)
    print(f"{'kind':10} {'files':>6} {'read':>6} {'refused':>8} {'characters':>11} {'seconds':>8}")
    for kind, one in sorted(counts.items()):
        line = f"{one['files']:6} {one['read']:6} {one['refused']:8} {one['characters']:11,}"
        print(f"{kind:10} {line} {seconds[kind]:8.1f}")
    whole = sum((Counter(one) for one in counts.values()), Counter())
    line = f"{whole['files']:6} {whole['read']:6} {whole['refused']:8} {whole['characters']:11,}"
    print(f"{'all':10} {line} {sum(seconds.values()):8.1f}")


if __name__ == "__main__":
    main()
