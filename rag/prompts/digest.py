"""A digest of the texts that models are given, for results that are cached."""

from __future__ import annotations

import hashlib

from rag.prompts import templates
from rag.prompts.layout import messages
from rag.prompts.prompt import Prompt, Turn


def digest() -> str:
    """16 hexadecimal digits that change with any template, and with the layout of prompts."""
    texts = sorted((name, one.version, one.text) for name, one in templates.prompts().items())
    turns: tuple[Turn, ...] = (("user", "earlier question"), ("assistant", "earlier answer"))
    layouts = [
        messages(Prompt("question", "system", ("one", "two"), turns, numbered=numbered))
        for numbered in (True, False)
    ]
    return hashlib.sha256(repr((texts, layouts)).encode()).hexdigest()[:16]
