"""Operators that make an index of files: read, cut, label, describe, write."""
