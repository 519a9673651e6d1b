"""Operators after retrieval: reranking, selection, compression of documents."""
