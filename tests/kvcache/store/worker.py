"""Another process on the same folder: `python -m tests.kvcache.store.worker write|mix ...`."""

from __future__ import annotations

import json
import random
import sys
from itertools import count
from pathlib import Path

from rag.kvcache.store import DiskTier, Found, KVStore, Miss
from rag.testing.entries import entry_of, key_of, same


def write(folder: Path, start: int) -> None:
    """Write until killed; tell of every entry that is written."""
    tier = DiskTier(folder)
    for number in count(start):
        tier.put(key_of(number), entry_of(number, tokens=64))
        print(number, flush=True)


def mix(folder: Path, seed: int) -> None:
    """Write, read and delete what another process writes, reads and deletes."""
    chance = random.Random(seed)  # noqa: S311
    store = KVStore([DiskTier(folder, max_bytes=6 * 9000)])
    wrong, reasons = 0, set()
    for _ in range(250):
        number = chance.randrange(10)
        name, entry = key_of(number), entry_of(number, tokens=32)
        match chance.randrange(5):
            case 0 | 1:
                store.put(name, entry)
            case 2:
                store.delete(name)
            case _:
                match store.get(name, entry.ids):
                    case Found(found):
                        wrong += not same(found, entry)
                    case Miss(reason):
                        reasons.add(reason)
    numbers = store.stats()["disk"]
    store.close()
    print(json.dumps({"wrong": wrong, "reasons": sorted(reasons), **numbers}))


if __name__ == "__main__":
    {"write": write, "mix": mix}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
