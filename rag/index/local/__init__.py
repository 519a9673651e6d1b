"""The index in a folder: SQLite, vectors and BM25."""
