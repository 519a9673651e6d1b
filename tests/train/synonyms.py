"""A collection in which a question and its document share no word: the pairs must be learned."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

from tests.models.test_encoder import saved

COUNT = 11
ASKED = [f"ask{n}" for n in range(COUNT)]
SAID = [f"say{n}" for n in range(COUNT)]


def collection(folder: Path, count: int | None = None) -> Path:
    """A data set in BEIR's format: `ask1 ask4` is answered by `say1 say4`.

    Args:
        folder: Where to; made.
        count: Questions; None: of all pairs of words.
    """
    (folder / "qrels").mkdir(parents=True)
    pairs = list(combinations(range(COUNT), 2))
    documents = [{"_id": f"d{a}-{b}", "text": f"{SAID[a]} {SAID[b]} {SAID[a]}"} for a, b in pairs]
    queries = [{"_id": f"q{a}-{b}", "text": f"{ASKED[a]} {ASKED[b]}"} for a, b in pairs]
    kept = queries[:count]
    rows = [f"{one['_id']}\td{one['_id'][1:]}\t1" for one in kept]
    for name, of in (("corpus", documents), ("queries", kept)):
        text = "".join(json.dumps(one) + "\n" for one in of)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query\tdoc\tgrade", *rows]) + "\n")
    return folder


def encoder(folder: Path) -> Path:
    """A tiny embedder that knows the words, untrained."""
    return saved(folder, texts=[" ".join([*ASKED, *SAID])])
