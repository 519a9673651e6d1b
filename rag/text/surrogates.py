"""Lone surrogates: file names and JSON may hold them, databases and tokenizers cannot."""

from __future__ import annotations


def escape_surrogates(text: str) -> str:
    r"""The text with each lone surrogate as its escape, `\udc80`: valid Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()
