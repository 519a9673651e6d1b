"""Operators before retrieval: rewriting, expanding, decomposing and constructing queries."""
