"""Whether an answer says that the sources do not say."""

from __future__ import annotations

import re

from rag.text.sentences import sentences

_ABSTAINS = re.compile(
    r"""
    \b(?:sources?|documents?|context|text|passages?|information|excerpts?)\b.{0,40}?
        \b(?:do(?:es)?\ not|don't|doesn't|did\ not|cannot|can't|no)\b.{0,20}?
        \b(?:say|state|mention|contain|specify|provide|include|answer|address|give|information)
    | \b(?:is|are|was|were)\ not\ (?:explicitly\ )?(?:mentioned|stated|specified|known)\b
    | \b(?:i|we)\ (?:do\ not|don't|cannot|can't)\ (?:know|say|tell|answer|find|determine)\b
    | \b(?:there\ is\ )?no\ (?:information|mention|answer|evidence)\b
    | \bnothing\ was\ found\b
    | \b(?:cannot|can't|could\ not)\ be\ (?:answered|determined|found)\b
    | ^\W*(?:unanswerable|unknown|not\ known|n/a|none|not\ (?:mentioned|stated|specified))\W*$
    """,
    re.IGNORECASE | re.VERBOSE,
)


def abstains(answer: str) -> bool:
    """Whether an answer says, in its first sentence, that it is not known; so does an empty one.

    By phrases of English; an answer that goes on with what the sources do say counts too.

    Args:
        answer: As generated.
    """
    first = next(iter(sentences(answer.replace("\u2019", "'"))), "")
    return not re.search(r"\w", answer) or _ABSTAINS.search(first) is not None
