"""Test sets made from an index."""
