"""Answers kept in a file, so that a long run may be stopped and started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rag.eval.answers import Asked
from rag.files import write_atomically
from rag.paths import writing

if TYPE_CHECKING:
    from rag.eval.beir import Query


class Kept:
    """One JSON object a line, each with a digest of what its answer depends on.

    What does not hold any longer is taken out: lines with another digest, those whose question
    now has another text or other gold answers, and a line that a killed run left unfinished.

    Args:
        path: The file; made with the first answer.
        digest: What the answers depend on: `rag.eval.identity.depends`.
        queries: The questions as they are now; lines of others stay.

    Raises:
        ConfigError: The file cannot be read or written.
    """

    def __init__(self, path: Path, digest: str, queries: Sequence[Query]) -> None:
        self._path, self._digest = path, digest
        self._known: dict[str, Asked] = {}
        now = {query.id: (query.text, query.answers) for query in queries}
        good: dict[str, str] = {}
        with writing(path, "file for the answers"):
            text = path.read_bytes() if path.exists() else b""
            # Not `splitlines`: texts may hold U+2028, which ends no line of JSON.
            for line in text.split(b"\n"):
                one = self._read(line)
                if one is not None and now.get(one.id, one.asked) == one.asked:
                    self._known[one.id] = one
                    good[one.id] = line.decode()
            whole = "".join(f"{line}\n" for line in good.values())
            if whole.encode() != text:
                write_atomically(path, whole)

    def _read(self, line: bytes) -> Asked | None:
        try:
            record = json.loads(line.decode())
            if record.pop("digest") != self._digest:
                return None
            return Asked(**{**record, "gold": tuple(record["gold"])})
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def get(self, query: Query) -> Asked | None:
        """What was answered; None where the question was not asked."""
        return self._known.get(query.id)

    def add(self, one: Asked) -> None:
        """Write an answer behind the others.

        Raises:
            ConfigError: The file cannot be written.
        """
        line = json.dumps({"digest": self._digest, **asdict(one)}, ensure_ascii=False) + "\n"
        with writing(self._path, "file for the answers"), self._path.open("ab") as file:
            # Half a character, which UTF-8 does not take, becomes JSON's escape for it.
            file.write(line.encode(errors="backslashreplace"))
        self._known[one.id] = one
