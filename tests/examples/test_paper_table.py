"""The table beside a paper's: what it prints is what was measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from rag.models import Embedder

SCRIPT = Path(__file__).parents[2] / "examples" / "paper_table" / "bm25_and_dense.py"
TEXTS = ["The keeper opens the lock.", "Ice closes the canal.", "Boats pay a toll.", "Swans eat."]


def test_it_prints_what_it_measures(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ir_measures")
    monkeypatch.setattr(Embedder, "load", lambda *_, **__: embedder)
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(TEXTS)]
    queries = [{"_id": "q1", "text": "keeper lock"}, {"_id": "q2", "text": "winter frost"}]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td1\t1\n"
    (folder / "qrels" / "test.tsv").write_text(judged)
    head, line = runpy.run_path(str(SCRIPT))["table"]([folder])
    assert head.split() == ["data", "set", "queries", "paper", "BM25", "dense", "both"]
    # BM25 knows no word of the second query; its meaning is near to the right document.
    assert line.split()[:4] == ["scifact", "2", "0.665", "0.500"]
    assert line.split()[4:6] == ["1.000", "(+0.500)"]
