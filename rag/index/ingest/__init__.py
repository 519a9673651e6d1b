"""Filling an index from files."""
