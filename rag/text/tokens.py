"""Estimates of tokens, for models whose tokenizer is elsewhere."""

from __future__ import annotations

import re

from rag.text.scripts import UNSPACED

_WIDE = re.compile(f"[{UNSPACED}\u1100-\u11ff\uac00-\ud7af\U0001f000-\U0001ffff]")
_OTHER = re.compile(r"[^\x00-\u024f]")
PER_TOKEN = 4
"""Latin characters in a token; two of other alphabets, one where words have no spaces."""


def count_tokens(text: str) -> int:
    """About how many tokens a text has; rather too many than too few outside of English."""
    return -(-_quarters(text) // PER_TOKEN)


def first_tokens(text: str, tokens: int) -> str:
    """The longest beginning of the text of at most so many tokens, by the same estimate."""
    if text.isascii():
        return text[: max(tokens, 0) * PER_TOKEN]
    left = tokens * PER_TOKEN
    for at, character in enumerate(text):
        left -= _weight(character)
        if left < 0:
            return text[:at]
    return text


def _quarters(text: str) -> int:
    """Quarters of tokens."""
    if text.isascii():
        return len(text)
    wide = len(_WIDE.findall(text))
    other = len(_OTHER.findall(text)) - wide
    return len(text) + (PER_TOKEN - 1) * wide + other


def _weight(character: str) -> int:
    if _WIDE.match(character):
        return PER_TOKEN
    return 2 if _OTHER.match(character) else 1
