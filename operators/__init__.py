"""The bricks: operators by module of Modular RAG (arXiv 2407.21059, section 4).

`CATALOGUE` is what pipeline files may name. A class is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.operators.generation.cite import Cite
    from rag.operators.generation.generate import Generate
    from rag.operators.orchestration.fusion import RRF
    from rag.operators.post_retrieval.extract import Extract
    from rag.operators.post_retrieval.pack import Pack
    from rag.operators.post_retrieval.rerank import Rerank
    from rag.operators.retrieval.dense import Dense
    from rag.operators.retrieval.sparse import BM25

CATALOGUE = {
    "bm25": "rag.operators.retrieval.sparse:BM25",
    "cite": "rag.operators.generation.cite:Cite",
    "cross_rerank": "rag.operators.post_retrieval.rerank:CrossRerank",
    "dense": "rag.operators.retrieval.dense:Dense",
    "extract": "rag.operators.post_retrieval.extract:Extract",
    "generate": "rag.operators.generation.generate:Generate",
    "pack": "rag.operators.post_retrieval.pack:Pack",
    "rerank": "rag.operators.post_retrieval.rerank:Rerank",
    "rrf": "rag.operators.orchestration.fusion:RRF",
}
"""Name in pipeline files to `module:Class`."""

__all__ = ["BM25", "CATALOGUE", "RRF", "Cite", "Dense", "Extract", "Generate", "Pack", "Rerank"]


def __getattr__(name: str) -> Any:
    for where in CATALOGUE.values():
        module, _, attribute = where.partition(":")
        if attribute == name:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'rag.operators' has no attribute {name!r}")
