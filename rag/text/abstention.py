"""Whether an answer gives none: the sources do not say it, it is not known, or it is refused."""

from __future__ import annotations

import re

from rag.text.sentences import sentences

_CONCLUDES = re.compile(r"\banswer is\b", re.IGNORECASE)
_ABSTAINS = re.compile(
    r"""
    \b(?:sources?|documents?|context|text|passages?|information|excerpts?)\b.{0,40}?
        \b(?:do(?:es)?\ not|don't|doesn't|did\ not|cannot|can't|no)\b.{0,20}?
        \b(?:say|state|mention|contain|specify|provide|include|answer|address|give|information)
    | \b(?:is|are|was|were)\ not\ (?:explicitly\ )?(?:mentioned|stated|specified|known)\b
    | \b(?:i|we)\ (?:do\ not|don't|cannot|can't)\ (?:know|say|tell|answer|find|determine)\b
    | \b(?:there\ is\ )?no\ (?:information|mention|answer|evidence)\b
    | \bnothing\ was\ found\b | \bwas\ not\ answered\b
    | \b(?:cannot|can't|could\ not)\ be\ (?:answered|determined|found)\b
    | (?:^|\banswer\ is\b)\W*
        (?:unanswerable|unknown|not\ known|n/a|none|not\ (?:mentioned|stated|specified))\W*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_REFUSES = re.compile(
    r"""
    ^\W*(?:sorry\b|i(?:'m|\ am)\ (?:sorry|afraid|unable\ to|not\ able\ to)\b
    | (?:i|we)\ (?:cannot|can't|won't)\ (?:help|assist|comply|provide|fulfil|do\ that)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def abstains(answer: str) -> bool:
    """Whether an answer gives none: by what it concludes with, else by its first sentence.

    The one rule of operators, evaluation and server, in English phrases. An empty answer gives
    none, and nor does a refusal. One that then names what the sources do say abstains all the
    same. A sentence of a reasoning that says "the answer is" concludes it.

    Args:
        answer: As generated.
    """
    found = sentences(answer.replace("\u2019", "'"))
    conclusions = [one for one in found if _CONCLUDES.search(one)]
    decisive = (conclusions[-1:] or found[:1] or [""])[0]
    if not re.search(r"\w", answer) or _ABSTAINS.search(decisive):
        return True
    return refuses(decisive)


def refuses(text: str) -> bool:
    """Whether a model declines instead of writing what it was asked for."""
    return _REFUSES.search(text.replace("\u2019", "'")) is not None
