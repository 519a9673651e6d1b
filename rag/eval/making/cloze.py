"""Questions by rules, where a model writes none that holds: sentences with a gap (Taylor 1953)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.operators.facts import names
from rag.operators.support import content_words
from rag.text.sentences import COMMON, STOPS, sentences

GAP = "____"
_FACT = re.compile(r"\b\d[\d.,:]*\d|\b\d+")
_UNIT = re.compile(r"\s?(?:%|\xb0?[^\W\d_]{1,12}(?:/[a-z]{1,3})?\b)")
_SHORTEST, _LONGEST = 6, 40
"""Words of a sentence that a gap is made in."""


@dataclass(frozen=True)
class Cloze:
    """A sentence with a gap.

    Attributes:
        sentence: The whole sentence.
        gapped: With `____` for what is missing.
        answer: What is missing.
    """

    sentence: str
    gapped: str
    answer: str

    @property
    def question(self) -> str:
        """What is asked."""
        return question_of([self])


def question_of(parts: Sequence[Cloze]) -> str:
    """What is asked of sentences with gaps."""
    quoted = " and in ".join(f'"{one.gapped}"' for one in parts)
    return f"Which words are missing in {quoted}?"


def clozes(text: str) -> list[Cloze]:
    """The sentences of a text that have a number or a name, with a gap in its place.

    Args:
        text: A passage, in English: names are recognised by capital letters.
    """
    return [
        Cloze(one, f"{one[:start]}{GAP}{one[end:]}", one[start:end])
        for one in sentences(text, lines=True)
        if _SHORTEST <= len(one.split()) <= _LONGEST and one[-1] in STOPS and '"' not in one
        for start, end in _facts(one)[-1:]
    ]


def _facts(sentence: str) -> list[tuple[int, int]]:
    """Where numbers with their unit stand; if there are none, names."""
    found = []
    for match in _FACT.finditer(sentence):
        unit = _UNIT.match(sentence, match.end())
        end = unit.end() if unit and unit[0].strip().lower() not in COMMON else match.end()
        found.append((match.start(), end))
    if found:
        return found
    spans: list[tuple[int, int]] = []
    for name in names(sentence):
        at = sentence.find(name, spans[-1][1] if spans else 0)
        if at > 0:
            spans.append((at, at + len(name)))
    return spans


def fillers(cloze: Cloze, texts: Sequence[str]) -> set[str]:
    """What stands in the gap's place in the sentences of texts."""
    before, after = (re.escape(part) for part in cloze.gapped.split(GAP, 1))
    pattern = re.compile(f"{before}(.{{1,60}}?){after}")
    return {found for text in texts for found in pattern.findall(" ".join(text.split()))}


def altered(cloze: Cloze, others: Sequence[str], rng: random.Random) -> Iterator[Cloze]:
    """The sentence about something else: one of its names replaced by one of another text.

    Args:
        cloze: With a name beside its gap; others give nothing.
        others: Passages whose names are taken.
        rng: Chooses.
    """
    own = [name for name in names(cloze.sentence) if name in cloze.gapped]
    foreign = sorted({name for text in others for one in sentences(text) for name in names(one)})
    rng.shuffle(foreign)
    for name in own[:1]:
        for other in foreign:
            if other not in cloze.sentence:
                gapped = re.sub(rf"\b{re.escape(name)}\b", other, cloze.gapped)
                yield Cloze(gapped, gapped, "")


def stated(cloze: Cloze, texts: Sequence[str]) -> bool:
    """Whether a sentence of the texts has all content words that stand around the gap."""
    wanted = content_words(cloze.gapped.replace(GAP, " "))
    return any(
        wanted <= content_words(one) for text in texts for one in sentences(text, lines=True)
    )
