"""The things that a text names, found by rules: names, and phrases between function words."""

from __future__ import annotations

import re

from rag.text.sentences import COMMON, sentences

MOST_WORDS = 4
"""Words of a phrase at most: longer runs are no name of anything."""
SHORTEST = 4
"""Characters of a phrase at least."""
_WORD = r"[^\W\d_][\w\u2019'&.-]*[\w\u2019'&]|[^\W\d_]"
_TOKEN = re.compile(rf"{_WORD}|\d[\d.,:/-]*|[^\w\s]")
_LINKS = frozenset("of the de del della di da du la le van von der den".split())  # noqa: SIM905
_FUNCTION = COMMON | frozenset(
    """
    i me my we us him himself herself itself themselves yours who whom whose why now here both each
    few own same too very just one two three first second last new other another every many much
    get got gets make made makes use used uses using go goes went come came see seen say says said
    take taken give given become became being having did doing would could might shall cannot
    because while until before after above below between through during without within against
    among per via up down out off over again further once only like also however therefore thus
    """.split()  # noqa: SIM905
)
"""English words that are part of no phrase."""


def entities(text: str, most: int = 48) -> list[str]:
    """The names and noun phrases of a text, normalised, each once, in order.

    Names are runs of words with a capital letter, also across `of` or `van` (`Bank of Norway`).
    Phrases are runs of up to four words between function words, numbers and punctuation, as in
    RAKE (Rose et al. 2010): rules of English, harmless elsewhere, that need no model. A text in a
    script without spaces or capitals has none.

    Args:
        text: Of any length.
        most: Names and phrases at most; names come first.
    """
    names: dict[str, None] = {}
    phrases: dict[str, None] = {}
    for sentence in sentences(text, lines=True):
        tokens = _TOKEN.findall(sentence)
        for run in _names(tokens):
            names.setdefault(normalised(" ".join(run)))
        for run in _phrases(tokens):
            phrases.setdefault(normalised(" ".join(run)))
    found = [one for one in {**names, **phrases} if len(one) > 1 and one not in _FUNCTION]
    return found[:most]


def normalised(name: str) -> str:
    """A name as it is compared: without case, article, possessive ending and extra spaces."""
    plain = re.sub(r"[\u2019']s?(?=\s|$)", "", " ".join(name.split()).casefold()).strip(" .-'&")
    return re.sub(r"^(?:the|a|an) ", "", plain)


def mentioned(text: str, known: set[str] | dict[str, int]) -> list[str]:
    """The known names that are in a text, whatever their case, longer ones before their parts.

    Args:
        text: A question.
        known: Normalised names.
    """
    words = [word for word in _TOKEN.findall(text) if word[0].isalnum()]
    found: list[str] = []
    taken: set[int] = set()
    for length in range(min(MOST_WORDS + 2, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            places = set(range(start, start + length))
            name = normalised(" ".join(words[start : start + length]))
            if name in known and not places & taken and name not in _FUNCTION:
                found.append(name)
                taken |= places
    return found


def _names(tokens: list[str]) -> list[list[str]]:
    """Runs of capitalised words; a function word that begins the sentence is none of them."""
    runs: list[list[str]] = []
    run: list[str] = []
    for at, token in enumerate([*tokens, "."]):
        begins = token[0].isupper() and not (at == 0 and token.casefold() in _FUNCTION)
        numbered = token[0].isdigit() and len(run) < MOST_WORDS
        if begins or (run and (token in _LINKS or numbered)):
            run.append(token)
        else:
            while run and run[-1] in _LINKS:
                run.pop()
            if run:
                runs.append(run)
            run = []
    return runs


def _phrases(tokens: list[str]) -> list[list[str]]:
    """Runs of up to four words that are no function words and, but for the first, no names."""
    runs: list[list[str]] = []
    run: list[str] = []
    for at, token in enumerate([*tokens, "."]):
        name = at > 0 and token[0].isupper()
        if token[0].isalpha() and not name and token.casefold() not in _FUNCTION:
            run.append(token)
            continue
        if len(run) in range(1, MOST_WORDS + 1) and len(" ".join(run)) >= SHORTEST:
            runs.append(run)
        run = []
    return runs
