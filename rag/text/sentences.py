"""Where sentences end, in any script."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.text.scripts import UNSPACED
from rag.text.wrapped import unwrapped

COMMON = frozenset(
    """
    a about all also an and any are as at be been but by can do does for from had has have he
    her his how i if in into is it its may more most must no not of on only or other our she
    should so some such than that the their them then there these they this to under was we
    were what when where which who will with would you your source sources according
    """.split()  # noqa: SIM905 - a list of a hundred words reads no better
)
"""English stop words. Sentences begin with them, names do not."""

_BEFORE_NAMES = frozenset(
    "dr mr mrs ms prof rev hon st mt capt col gen lt sgt messrs mme mlle".split()  # noqa: SIM905
)
_BEFORE_NUMBERS = frozenset(
    """
    no nos nr fig figs sec art p pp vol ch chap eq para tab ca approx
    jan feb mar apr jun jul aug sep sept oct nov dec
    """.split()  # noqa: SIM905
)
_WITHIN = frozenset("e.g i.e cf vs viz d.h z.b".split())  # noqa: SIM905

_ALWAYS = "\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965\u104b\u17d4\u1362\u0589"
"""Full stops that only end sentences: Chinese, Arabic, Indic, Burmese, Khmer, Ge'ez, Armenian."""
STOPS = f".!?\u2026{_ALWAYS}"

_STOP = re.compile(
    rf"""
    (?: (?P<always>[{_ALWAYS}]) | [.!?\u2026] )+
    ["'\u201d\u2019\xbb)\]*_\u300d\u300f\u300b\u3009\u3011\uff09]*  # what closes behind it
    (?:\s*\[\d{{1,3}}\])*                                             # marks of citations
    (?P<gap>\s*)
    """,
    re.VERBOSE,
)
_OPENING = re.compile(r"[\"'\u201c\u201e\u2018\xab(\[*_\xbf\xa1]*")
_LIST_NUMBER = re.compile(r"[^\w\n]*(?:\d{1,2}|[^\W\d_])")
_LAST = re.compile(r"[^\s(\[\"'\u201c\u2018\xab]*$")
_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_CASELESS = re.compile("[\u10d0-\u10ff]")  # Georgian, which Unicode calls lower case
_BEFORE = 40
"""Characters before a full stop that are looked at: no abbreviation is longer."""


def sentences(text: str, *, lines: bool = False) -> list[str]:
    """The text's sentences, without the white space between them.

    Args:
        text: In any script.
        lines: Whether the end of a line ends a sentence too, as in lists and tables, but not where
            a narrow page broke it.
    """
    if lines:
        return [one for line in unwrapped(text) for one in sentences(line)]
    return [text[start:end] for start, end in spans(text)]


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each sentence starts and ends, without the white space between them.

    It ends behind a stop of any script, the quotes that it closes and the marks (`[1]`) of what
    it cites. A full stop with a lower-case letter behind it ends none, unless the whole text is
    in lower case; nor does that of an abbreviation, of an initial or of a list's number.
    """
    start = len(text) - len(text.lstrip())
    for end, following in _boundaries(text, start):
        yield start, end
        start = following
    if text[start:].strip():
        yield start, len(text.rstrip())


def sentence_starts(text: str) -> Iterator[int]:
    """Where each sentence after the first one starts; see `spans`."""
    for _, following in _boundaries(text, len(text) - len(text.lstrip())):
        yield following


def _boundaries(text: str, start: int) -> Iterator[tuple[int, int]]:
    """The end of each sentence but the last, and where the one behind it starts."""
    lower = text.islower()
    for match in _STOP.finditer(text):
        end = match.start("gap")
        if match.end() < len(text) and start < end and _ends(text, start, match, lower=lower):
            yield end, match.end()
            start = match.end()


def _ends(text: str, start: int, match: re.Match[str], *, lower: bool) -> bool:
    if match["always"]:
        return True
    opening = _OPENING.match(text, match.end())
    at = opening.end() if opening else match.end()
    follows = text[at : at + 1]
    if not match["gap"]:
        return match[0][-1] in "!?" and bool(_UNSPACED.match(follows))
    if follows.islower() and not lower and not _CASELESS.match(follows):
        return False
    if not match[0].startswith(".") or match[0].startswith(".."):
        return True
    near = max(start, match.start() - _BEFORE)
    before = text[near : match.start()]
    return not (_numbers(before, whole=near == start) or _abbreviated(before, text, at))


def _numbers(before: str, *, whole: bool) -> bool:
    """Whether a full stop stands behind the number of a list, at the start of a line or sentence.

    Args:
        before: The text before the stop.
        whole: Whether it is the sentence from its start.
    """
    line = before.rpartition("\n")[2]
    return (whole or line != before) and _LIST_NUMBER.fullmatch(line) is not None


def _abbreviated(before: str, text: str, at: int) -> bool:
    """Whether the text before a stop ends with an abbreviation that goes on at `at`."""
    found = _LAST.search(before)
    last = found[0] if found else ""
    plain = last.casefold()
    if plain in _BEFORE_NUMBERS:
        return text[at : at + 1].isdigit()
    if plain in _BEFORE_NAMES or _initial(last):
        word = _WORD.match(text, at)
        return word is not None and word[0].casefold() not in COMMON
    return plain in _WITHIN


def _initial(word: str) -> bool:
    """`J`, `U.S`, `J.-P`, `Ph.D`."""
    letter = word.rpartition(".")[2].lstrip("-")
    return len(letter) == 1 and letter.isupper()
