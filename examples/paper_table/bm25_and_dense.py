"""BM25 and dense retrieval beside table 2 of BEIR (Thakur et al. 2021, arXiv 2104.08663).

python examples/paper_table/bm25_and_dense.py FOLDER...     # needs modular-rag[local,eval]

Each folder is a data set in BEIR's format, by BEIR's name (scifact, nfcorpus, ...), which are to be
had from the paper's authors. Printed are nDCG@10 here and, where the paper has the data set, its
BM25. Differences are expected: the paper's BM25 is Anserini's over title and text, with k1 .9 and
b .4, ours Tantivy's with k1 1.2 and b .75, over chunks. Its dense models are larger than ours and
were not trained on the same data, so there is no figure of theirs to compare with.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rag import Flow, Parallel
from rag.eval.corpus import Corpus
from rag.eval.loading import load_dataset
from rag.eval.ranking import rank_all, ranking_rows
from rag.flow import Node
from rag.operators import BM25, RRF, Dense

PAPER = {
    "trec-covid": 0.656,
    "nfcorpus": 0.325,
    "nq": 0.329,
    "hotpotqa": 0.603,
    "fiqa": 0.236,
    "arguana": 0.315,
    "quora": 0.789,
    "dbpedia-entity": 0.313,
    "scidocs": 0.158,
    "fever": 0.753,
    "climate-fever": 0.213,
    "scifact": 0.665,
}
"""nDCG@10 of BM25 in table 2, by data set."""
FLOWS: dict[str, Node] = {
    "BM25": BM25(k=200),
    "dense": Dense(k=200),
    "both": Parallel(words=BM25(k=200), vectors=Dense(k=200), join=RRF()),
}


def table(folders: Sequence[Path]) -> list[str]:
    """A line for each data set, below a line of headings."""
    lines = [f"{'data set':<16}{'queries':>8}{'paper':>8}" + "".join(f"{x:>16}" for x in FLOWS)]
    for folder in folders:
        data = load_dataset(folder)
        with Corpus(data) as corpus:
            results = {}
            for name, node in FLOWS.items():
                flow = Flow(node, resources={"index": "./index", "embedder": "all-minilm-l6-v2"})
                results[name] = rank_all(corpus.bind(flow), data)
        rows = ranking_rows(results)
        paper = PAPER.get(folder.name.lower())
        line = f"{folder.name:<16}{rows[0].queries:>8}{f'{paper:.3f}' if paper else '-':>8}"
        for row in rows:
            gain = "" if row is rows[0] or row.gain is None else f" ({row.gain.mean:+.3f})"
            line += f"{(row.means['ndcg_at_10'] or 0):.3f}{gain}".rjust(16)
        lines.append(line)
    return lines


if __name__ == "__main__":
    print("\n".join(table([Path(folder) for folder in sys.argv[1:]])))
