"""Chunks, vectors and BM25 in one folder on disk."""

from rag.index.index import Index
from rag.index.ingest.writer import IndexWriter
from rag.index.types import IndexStats, Source, SourceUpdate, WriteReport

__all__ = ["Index", "IndexStats", "IndexWriter", "Source", "SourceUpdate", "WriteReport"]
