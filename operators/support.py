"""How far a text supports a sentence, by the words that they share, in any script."""

from __future__ import annotations

import re
from collections.abc import Collection

from rag.text.scripts import IDEOGRAMS, LETTERS, MARKS, UNSPACED
from rag.text.sentences import COMMON

_WORD = re.compile(
    rf"[^\W{UNSPACED}]+(?:[{MARKS}]+[^\W{UNSPACED}]*)*(?:[.,]\d+)*"  # 1.5 and 1,000 are one word
)
_PARTICLES = (
    "\u3041-\u309f的了是在和有也就都而及与與或於于之其這这那不我你他她它們们嗎吗呢吧"
    "\u30a0\u30fb\u104a\u104b\u17d4\u17d5"
)
"""Stop characters of scripts without spaces: hiragana, Chinese function words, punctuation."""
_RUNS = {
    size: re.compile(f"(?:(?![{_PARTICLES}])[{script}])+")
    for size, script in ((2, IDEOGRAMS), (4, LETTERS))
}
"""Runs of text without spaces, by the number of characters that a word has there."""


def support(sentence: str, text: str, *, common: Collection[str] = COMMON) -> float:
    """The share, 0 to 1, of the sentence's content words that the text contains.

    Numbers count double: a wrong one makes a sentence wrong. In scripts without spaces between
    words, a character counts as found if the text has it beside the same neighbour (two in a row
    of Han and kana; four of Thai, Lao, Burmese and Khmer), and weighs its share of a word.

    Args:
        sentence: What is to be supported.
        text: What may support it.
        common: Stop words, which do not count.
    """
    wanted = _content(sentence, common)
    there = _content(text, common)
    weights = {word: 2.0 if word[0].isdigit() else 1.0 for word in wanted}
    found, total = sum(weights[word] for word in wanted & there), sum(weights.values())
    for size, pattern in _RUNS.items():
        runs = pattern.findall(sentence)
        whole = "".join(text.split()) if runs else ""  # a line may end within a word
        found += sum(_found(run, whole, size) for run in runs) / size
        total += sum(map(len, runs)) / size
    return found / total if total else 0.0


def content_words(text: str) -> set[str]:
    """The words of a text without stop words and endings, in lower case."""
    return _content(text, COMMON)


def _found(run: str, text: str, size: int) -> int:
    """How many characters of the run the text has, each with its neighbours."""
    found: set[int] = set()
    for at in range(max(len(run) - size, 0) + 1):
        if run[at : at + size] in text:
            found.update(range(at, min(at + size, len(run))))
    return len(found)


def _content(text: str, common: Collection[str]) -> set[str]:
    words = (word.lower() for word in _WORD.findall(text))
    return {_stem(word) for word in words if word not in common}


def _stem(word: str) -> str:
    """The word without a plural's or a verb's ending: enough to match."""
    for ending in ("ing", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and word.isalpha():
            return word[: -len(ending)]
    return word
