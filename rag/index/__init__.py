"""Chunks, vectors and BM25 in one folder on disk."""

from rag.index.index import Index
from rag.index.types import IndexStats, Source, SourceUpdate, WriteReport

__all__ = ["Index", "IndexStats", "Source", "SourceUpdate", "WriteReport"]
