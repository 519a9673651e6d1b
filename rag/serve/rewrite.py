"""A question that leans on what was said before, as one that stands by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.models import LLM, Prompt, Sampling
from rag.prompts.templates import prompts

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
        prompts()[
            "condense_query_turn_user" if role == "user" else "condense_query_turn_assistant"
        ].format(text=text.strip()[:CHARACTERS])
        for role, text in history[-TURNS:]
    )
    template = prompts()["condense_query_input"]
    prompt = Prompt(template.format(history=told, query=query), prompts()["condense_query"].text)
    found = await llm.generate(prompt, Sampling(max_tokens=64, stop=("\n",)))
    written = found.text.strip().strip("\"'").removeprefix(template.text.splitlines()[-1]).strip()
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
