"""Operators for indexing: loading, splitting, labelling, describing and writing documents."""
