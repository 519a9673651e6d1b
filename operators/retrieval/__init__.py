"""Operators for retrieval: searching an index, a database, or another system."""
