"""Readers: models that answer from sources, cite them, and say when none has the answer."""
