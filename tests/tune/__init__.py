"""Searching for a better pipeline."""
