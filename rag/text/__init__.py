"""Sentences, sections and words of texts, in any script."""
