"""Whether a text attests a sentence: its words, and what must not be invented."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rag.operators.claims import SAYS
from rag.operators.facts import denies, months, names, numbers, stated
from rag.operators.support import content_words, support
from rag.text.sentences import sentences

DENIED = 0.4
"""Factor of the support by a text that says the opposite: no threshold from 0.4 on is reached."""
ALIKE = 0.6
"""Support of a sentence by another one from which both speak of the same."""
_CLAUSE = re.compile(r"(?<=[,;:])\s|\s(?=(?:but|unless|except|although|while|whereas)\b)")
_LISTED = re.compile(r"^\s*\d{1,2}[.)]\s+")
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s\b")
_LIGHT = frozenset(
    """
    amount answer capacity count date day duration figure height length level limit maximum
    minimum name number period quantity size sum time total value weight width year
    """.split()  # noqa: SIM905
)
"""What a number measures may be left out where it is stated: its unit says the same."""


class Attestation(NamedTuple):
    """How far a text attests a sentence."""

    support: float
    """0 to 1; 0: a number, a date or a name is not in the text."""
    problem: str
    """What is not in it, or what it says instead; empty: nothing."""


def attested(sentence: str, text: str) -> Attestation:
    """How far a text attests a sentence: `support`, unless the sentence says something else.

    A number, a month or a name that the text lacks is a veto, and so is what a number is stated of
    (`The salary is 3001`) if the text does not speak of it where the number stands. Where the
    sentence denies what the text says, or asserts what it denies, the support is lowered. Rules
    for English; in other languages numbers veto as well, and names where only they are written
    with capital letters.

    Args:
        sentence: Without marks of citations.
        text: A source as a model reads it, with its title and headings.
    """
    sentence = _POSSESSIVE.sub("", _LISTED.sub("", sentence))
    text = _POSSESSIVE.sub("", text)
    raw = support(sentence, text)
    missing = next(_missing(sentence, text), None)
    if missing is not None:
        return Attestation(0.0, _contradiction(sentence, text) or f"{missing!r} is not in it")
    if sentence.strip() in _pieces(text):
        return Attestation(raw, "")  # word for word: a clause of it may seem to say the opposite
    if opposite := _opposite(sentence, text):
        return Attestation(raw * DENIED, f"{SAYS}{opposite}")
    return Attestation(raw, "")


def _missing(sentence: str, text: str) -> Iterator[str]:
    """What the sentence has and the text must have, but has not."""
    there = numbers(text)
    own = numbers(sentence)
    yield from (number for number in own if number not in there)
    yield from (month for month in months(sentence) if month not in months(text))
    words = content_words(text)
    yield from (name for name in names(sentence) if not content_words(name) <= words)
    if own and (subject := stated(sentence)):
        nearby = set().union(*(content_words(_around(text, number)) for number in own))
        yield from sorted(content_words(subject) - nearby - _LIGHT)


def _around(text: str, number: str) -> str:
    """The sentences or rows that a number stands in, with what is beside and above them."""
    pieces = _pieces(text)
    found: set[int] = set()
    for at, piece in enumerate(pieces):
        if number in numbers(piece):
            found.update((at - 1, at, at + 1))
            if "|" in piece:  # the table's head
                head = at
                while head > 0 and "|" in pieces[head - 1]:
                    head -= 1
                found.add(head)
    headings = (0, 1)  # title and headings come first
    return " ".join(pieces[at] for at in sorted({*found, *headings}) if 0 <= at < len(pieces))


def _opposite(sentence: str, text: str) -> str:
    """The text's clause that says the same but for a negation; empty if there is none."""
    best, most = "", ALIKE
    for piece in _pieces(text):
        for clause in _CLAUSE.split(piece):
            alike = min(support(sentence, clause), 1.0) if clause.strip() else 0.0
            if alike > most or (alike == most and denies(clause) == denies(sentence)):
                best, most = clause.strip(), alike
    return best if best and denies(best) != denies(sentence) else ""


def _contradiction(sentence: str, text: str) -> str:
    """What the text says where only its numbers differ from the sentence's; empty: nothing."""
    if not (own := numbers(sentence)):
        return ""
    words = content_words(sentence) - {*own, *re.findall(r"\d[\d.,]*", sentence)}
    if not words:
        return ""
    for piece in _pieces(text):
        other = numbers(piece)
        if other and not own & other and len(words & content_words(piece)) >= ALIKE * len(words):
            return f"{SAYS}{piece}"
    return ""


@lru_cache(maxsize=256)
def _pieces(text: str) -> tuple[str, ...]:
    return tuple(sentences(text, lines=True))
