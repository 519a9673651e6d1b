"""Texts in any script: sentences, sections, chunks."""
