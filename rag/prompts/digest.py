"""A digest of the texts that a model is given, for results that are cached."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from rag.prompts import templates
from rag.prompts.layout import messages
from rag.prompts.prompt import Prompt, Turn
from rag.prompts.templates import PromptTemplate


def digest(texts: Mapping[str, PromptTemplate] | None = None) -> str:
    """16 hexadecimal digits that change with any template, and with the layout of prompts.

    Args:
        texts: By name; default: `prompts()`.
    """
    found = templates.prompts() if texts is None else texts
    each = sorted((name, one.version, one.text) for name, one in found.items())
    turns: tuple[Turn, ...] = (("user", "earlier question"), ("assistant", "earlier answer"))
    layouts = [
        messages(Prompt("question", "system", ("one", "two"), turns, numbered=numbered))
        for numbered in (True, False)
    ]
    return hashlib.sha256(repr((each, layouts)).encode()).hexdigest()[:16]
