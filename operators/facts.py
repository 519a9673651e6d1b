"""What a sentence states that must not be invented: numbers, months, names; and what it denies."""

from __future__ import annotations

import re

from rag.text.sentences import COMMON

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"(?<=\d)[,.](?=\d{3}(?:\D|$))")
_UP_TO_19 = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SPELLED = {word: str(value) for value, word in enumerate(_UP_TO_19.split())} | {
    word: str(10 * value) for value, word in enumerate(_TENS.split(), start=2)
}
_PRONOUN = "one"
"""Seldom a number."""
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
_MONTH = re.compile(
    r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)"
    r"(?:uary|ruary|ch|il|e|y|ust|tember|ober|ember)?\b"
)
_NEAR_DAY = re.compile(r"\d{1,2}(?:st|nd|rd|th)?\s+$|^\.?\s+\d|(?:\bin|\bsince|\buntil)\s+$")
_DATE = re.compile(r"\b(?:\d{4}[-/](\d{1,2})[-/]\d{1,2}|\d{1,2}[./](\d{1,2})[./]\d{2,4})\b")
_NAME = re.compile(r"(?:(?<=^)|(?<=[\s(\"\u201c\u2018'\-]))[^\W\d_a-z][\w\u2019'-]*")
_CAPITALS = re.compile(r"\b(?:der|die|das|und|ist|eine?|den|dem|nicht|mit|f\u00fcr|von)\b")
"""Words of German, which writes all nouns with capital letters."""
_VERB = re.compile(r"\s+(?:is|was|has|had|won|owns|owned)\b")
_NEGATION = re.compile(
    r"\b(?:not(?! only)|no(?! \d)|never|without|cannot|neither|nor|none|nobody|nothing|forbidden|"
    r"prohibited|banned|\w+n[\u2019']t)\b",
    re.IGNORECASE,
)
_STATED = re.compile(
    r"^(.*?)\b(?:is|are|was|were|amounts? to|equals?)\b\D{0,24}?"
    r"(?:\d|\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b)",
    re.IGNORECASE,
)


def numbers(text: str) -> set[str]:
    """The numbers in a text, in figures or words, without separators and leading zeros.

    A decimal number keeps its point; `1,000` and `1.000` are 1000.
    """
    figures = (_THOUSANDS.sub("", found) for found in _NUMBER.findall(text))
    plain = {one.replace(",", ".").lstrip("0") or "0" for one in figures}
    words = (word.casefold() for word in re.findall(r"[A-Za-z]+", text))
    return plain | {_SPELLED[word] for word in words if word in _SPELLED and word != _PRONOUN}


def months(text: str) -> set[str]:
    """The months of the dates in a text: `jan` to `dec`."""
    found = set()
    for match in _MONTH.finditer(text):
        before, after = text[max(match.start() - 8, 0) : match.start()], text[match.end() :]
        whole = len(match[0]) > 3 or match[0] != "May"
        if whole or _NEAR_DAY.search(before) or _NEAR_DAY.match(after):
            found.add(match[1][:3].casefold())
    for match in _DATE.finditer(text):
        number = int(match[1] or match[2])
        if 1 <= number <= len(_MONTHS):
            found.add(_MONTHS[number - 1])
    return found


def names(sentence: str) -> list[str]:
    """The words of an English sentence that are names, in their order.

    Words with a capital letter; the first one only if another follows it, or a possessive ending,
    or it is the subject of a verb such as `has` and no plural: other first words say nothing.
    """
    if _CAPITALS.search(sentence):
        return []
    found = []
    for match in _NAME.finditer(sentence):
        word = re.sub(r"['\u2019]s$", "", match[0])
        if not word[:1].isupper() or word.casefold() in COMMON or _MONTH.fullmatch(word):
            continue
        first = not re.search(r"\w", sentence[: match.start()])
        if not first or _begins_name(word, match[0], sentence[match.end() :]):
            found.append(word)
    return found


def _begins_name(word: str, written: str, rest: str) -> bool:
    """Whether the first word of a sentence is a name."""
    if written != word or re.match(r"\s+[A-Z]", rest):
        return True
    return not word.endswith("s") and _VERB.match(rest) is not None


def denies(text: str) -> bool:
    """Whether an English text has a negation."""
    return _NEGATION.search(text) is not None


def stated(sentence: str) -> str:
    """What an English sentence states a number of: the words before `is 12`; else empty."""
    match = _STATED.match(sentence)
    return "" if match is None else match[1]
