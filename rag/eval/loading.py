"""Data sets by what their path is: a folder in BEIR's format, or a file of questions."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.eval.beir import read_beir
from rag.eval.questions import read_questions

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset

ENDINGS = (".jsonl", ".json", ".csv")


def load_dataset(
    path: Path, *, split: str | None = None, limit: int | None = None, seed: int = 0
) -> Dataset:
    """Read a data set: a folder as `read_beir`, a file as `read_questions`.

    Args:
        path: The folder or file.
        split: Of a folder: the file in `qrels`; default: `test`, else the only one there.
        limit: Maximum number of questions, sampled with `seed`; the corpus stays complete.
        seed: Of the sample.

    Raises:
        ConfigError: It is no such data set; the error names file and line.
    """
    if path.suffix.lower() in ENDINGS and not path.is_dir():
        if split is not None:
            fix = "leave --split out: it chooses among the judgements of a folder"
            raise ConfigError("a file of questions has no splits", where=str(path), fix=fix)
        data = read_questions(path)
    elif path.is_dir():
        data = read_beir(path, split)
    else:
        raise ConfigError(
            "there is no such data set", where=str(path),
            fix=f"give a folder in BEIR's format, or a file of questions: {', '.join(ENDINGS)}",
        )  # fmt: skip
    if limit is not None and limit < len(data.queries):
        chosen = random.Random(seed).sample(data.queries, limit)  # noqa: S311 - no secret
        data = replace(data, queries=chosen)
    return data
