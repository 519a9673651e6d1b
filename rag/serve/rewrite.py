"""A question that leans on what was said before, as one that stands by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.models import LLM, Prompt, Sampling

SYSTEM = (
    "Rewrite the last question so that it can be understood without the conversation. "
    "Replace words such as it, they, that or there by what they stand for. "
    "Write the question only."
)
TURNS = 4
"""Earlier messages that are looked at."""
CHARACTERS = 400
"""Of each."""

_WORD = re.compile(r"[^\W\d_]{3,}|\d+")
_LEANS = re.compile(
    r"\b(it|its|they|them|their|this|that|these|those|there|then|he|she|his|her|him|one|ones|"
    r"same|other|others|else|also|again|former|latter|previous|above)\b|"
    r"^(and|but|or|so|how come|what about|how about|really)\b[^?]{0,24}\?*$|"
    r"^(why|when|where|who)\b[^?]{0,9}\?*$",
    re.IGNORECASE,
)

Turn = tuple[str, str]
"""Role (`user`, `assistant`) and text."""


def leans(query: str) -> bool:
    """Whether a question seems to lean on an earlier one: by a word such as `it`, or its brevity.

    The check costs nothing; without it a small model would spoil questions that are complete.
    """
    return bool(_LEANS.search(query.strip())) or len(_WORD.findall(query)) < 3


async def standalone(query: str, history: Sequence[Turn], llm: LLM) -> str:
    """The question as it would be asked to somebody who has heard nothing before.

    Left as it is where nothing was said before or it does not lean on it. Where the model's
    rewriting lost the question, the last question is put before this one, which keeps its words
    for the retrieval.

    Args:
        query: The question.
        history: The turns before it, older first.
        llm: Rewrites.

    Raises:
        ModelError: The model cannot be reached.
    """
    asked = [text for role, text in history if role == "user"]
    if not asked or not leans(query):
        return query
    told = "\n".join(
        f"{'Question' if role == 'user' else 'Answer'}: {text.strip()[:CHARACTERS]}"
        for role, text in history[-TURNS:]
    )
    prompt = Prompt(f"{told}\nLast question: {query}\nRewritten question:", SYSTEM)
    found = await llm.generate(prompt, Sampling(max_tokens=64, stop=("\n",)))
    written = found.text.strip().strip("\"'").removeprefix("Rewritten question:").strip()
    return written if keeps(query, written, told) else f"{asked[-1].strip()} {query}"


def keeps(query: str, written: str, told: str) -> bool:
    """Whether a rewriting is one: a question of this conversation with this question's words."""
    if not written.endswith("?") or len(written) > CHARACTERS:
        return False
    wanted = _words(query) - {w for w in _words(query) if _LEANS.fullmatch(w)}
    there, known = _words(written), _words(told) | _words(query)
    missing, new = wanted - there, {w for w in there - known if len(w) > 4}
    gained = there - _words(query)
    return len(missing) <= len(wanted) // 3 and len(new) <= 2 and bool(gained & _words(told))


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}
