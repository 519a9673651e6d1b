"""Measures of short answers, as SQuAD defines them (Rajpurkar et al. 2016, section 6.1)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """The text in lower case, without punctuation, articles and double spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golds: Iterable[str]) -> float:
    """1 if the answer is one of the gold answers, else 0."""
    return float(any(normalized(answer) == normalized(gold) for gold in golds))


def contains(answer: str, golds: Iterable[str]) -> float:
    """1 if the answer contains a gold answer, in whole words, else 0."""
    padded = f" {normalized(answer)} "
    return float(any(f" {normalized(gold)} " in padded for gold in golds if normalized(gold)))


def token_f1(answer: str, golds: Iterable[str]) -> float:
    """The best harmonic mean of token precision and recall over the gold answers, 0 to 1."""
    return max(
        (_f1(normalized(answer).split(), normalized(gold).split()) for gold in golds), default=0.0
    )


def _f1(answer: list[str], gold: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(gold)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)
