"""A small data set in BEIR's format, and a pipeline for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FACTS = {
    "d1": ("Locks", "The north lock is 120 m long and was built in 1911."),
    "d2": ("Pumps", "Pump P-17 lifts 240 litres per second."),
    "d3": ("Ice", "The tug Hedda breaks ice of up to 35 cm."),
}
WORDS = """
name: words
resources: {index: {path: ./index, chunk_size: 40}, embedder: all-minilm-l6-v2}
steps:
  - {use: bm25, k: "${k:4}"}
  - {use: generate, max_tokens: 12}
  - {use: cite}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Its folder."""
    folder = tmp_path / "facts"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": key, "title": title, "text": text} for key, (title, text) in FACTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries = [
        {"_id": "q1", "text": "How long is the north lock?", "metadata": {"answers": ["120 m"]}},
        {"_id": "q2", "text": "What does pump P-17 lift?", "metadata": {"answers": ["240 litres"]}},
        {"_id": "q3", "text": "not judged"},
    ]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    return folder


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """The file of a pipeline that searches by words."""
    file = tmp_path / "words.yaml"
    file.write_text(WORDS)
    return file
