"""Chunks, vectors and BM25 in one folder on disk."""

from rag.index.index import Index
from rag.index.types import IndexStats, Source, SourceUpdate, WriteReport
from rag.index.writer import IndexWriter

__all__ = ["Index", "IndexStats", "IndexWriter", "Source", "SourceUpdate", "WriteReport"]
