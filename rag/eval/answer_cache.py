"""Answers on disk, so that a long evaluation can be stopped and resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rag.eval.results import AnswerResult, result_of
from rag.files import write_atomically
from rag.paths import write_errors

if TYPE_CHECKING:
    from rag.eval.dataset import Query


class AnswerCache:
    """A JSONL file: one answer per line, with the digest of everything that it depends on.

    Opening it removes what is no longer valid: lines with another digest, lines whose question
    was changed, or what is known of its answer, and a line that a killed run left incomplete.

    Args:
        path: The file; created with the first answer.
        digest: What the answers depend on: `rag.eval.digests.answers_digest`.
        queries: The current questions; lines of other questions are kept.

    Raises:
        ConfigError: The file cannot be read or written.
    """

    def __init__(self, path: Path, digest: str, queries: Sequence[Query]) -> None:
        self._path, self._digest = path, digest
        self._results: dict[str, AnswerResult] = {}
        self._queries = {query.id: _digest(query) for query in queries}
        valid: dict[str, str] = {}
        with write_errors(path, "file for the answers"):
            content = path.read_bytes() if path.exists() else b""
            # Not `splitlines`: texts may contain U+2028, which does not end a line of JSON.
            for line in content.split(b"\n"):
                result = self._parse(line)
                if result is not None:
                    self._results[result.id] = result
                    valid[result.id] = line.decode()
            kept = "".join(f"{line}\n" for line in valid.values())
            if kept.encode() != content:
                write_atomically(path, kept)

    def _parse(self, line: bytes) -> AnswerResult | None:
        try:
            record = json.loads(line.decode())
            if record.pop("digest") != self._digest:
                return None
            query = record.pop("query")
            if self._queries.get(record["id"], query) != query:
                return None
            return result_of(record)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def get(self, query: Query) -> AnswerResult | None:
        """The cached result of a question; None if it was not asked yet."""
        return self._results.get(query.id)

    def add(self, result: AnswerResult) -> None:
        """Append a result.

        Raises:
            ConfigError: The file cannot be written.
        """
        query = self._queries.get(result.id, "")
        record = {"digest": self._digest, "query": query, **asdict(result)}
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with write_errors(self._path, "file for the answers"), self._path.open("ab") as file:
            # A lone surrogate, which UTF-8 cannot encode, becomes JSON's escape for it.
            file.write(line.encode(errors="backslashreplace"))
        self._results[result.id] = result


def _digest(query: Query) -> str:
    """Changes with the question, and with what is known of its answer."""
    text = json.dumps(asdict(query), sort_keys=True)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]
