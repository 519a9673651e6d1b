"""A question that refers to a conversation, as one that can be understood without it."""

from __future__ import annotations

import re

from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.history import History, Role, turns
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field
from rag.prompts.sanitize import harmless

_WORD = re.compile(r"[^\W\d_]{3,}|\d+")
_REFERS = re.compile(
    r"\b(it|its|they|them|their|this|that|these|those|there|then|he|she|his|her|him|one|ones|"
    r"same|other|others|else|also|again|former|latter|previous|above)\b|"
    r"^(and|but|or|so|how come|what about|how about|really)\b[^?]{0,24}\?*$|"
    r"^(why|when|where|who)\b[^?]{0,9}\?*$",
    re.IGNORECASE,
)
_LONGEST = 400
"""Characters of a rewritten question, at most."""


class CondenseQuery(Operator):
    """Rewrites a question that refers to a conversation as one that stands alone.

    Question rewriting for conversational search (Vakulenko et al. 2021, arXiv 2004.14652). For
    the beginning of a chat pipeline: a search knows nothing of earlier turns. Words such as `it`
    and the length of a question show whether it refers to something; if not, it stays as it is,
    since a small model would spoil it. If the model's output is not a rewriting of the question,
    the previous question is prepended instead, which keeps its words for the search.
    LLM calls: 1, or 0 if the question stands alone.
    Reads `query` and, if present, `history`: the earlier messages, oldest first, each
    `{role: user, content: ...}` or `{role: assistant, content: ...}`; writes `query`.
    Example: `{use: condense_query, max_messages: 4}`
    """

    writes = "query"
    span_kind = "LLM"

    max_tokens: PositiveInt | None = limit_field(64)
    max_messages: PositiveInt = Field(default=4, description="latest messages in the prompt")
    max_characters: PositiveInt = Field(default=400, description="characters of each message")
    system: str | None = prompt_field("condense_query")

    async def run(
        self,
        query: str,
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> str:
        """The question that stands alone.

        Raises:
            InputError: The history is not one (`rag.operators.history`).
        """
        earlier = turns(history)
        questions = [text.strip() for role, text in earlier if role == "user"]
        if not questions or not refers(query):
            return query
        call = ModelCall(llm, ctx)
        shown = earlier[-self.max_messages :]
        transcript = "\n".join(self._line(call, *one) for one in shown)
        template = call.texts["condense_query_input"]
        prompt = template.format(history=transcript, query=query)
        done = await ask(
            call,
            self.system or call.texts["condense_query"].text,
            prompt,
            max_tokens=limit(call, self.max_tokens, 64),
            stop=("\n",),
        )
        text = done.text.strip().strip("\"'").removeprefix(template.text.splitlines()[-1]).strip()
        return text if is_rewriting(text, query, transcript) else f"{questions[-1]} {query}"

    def _line(self, call: ModelCall, role: Role, text: str) -> str:
        shown = harmless(text.strip()[: self.max_characters])
        return call.texts[f"condense_query_turn_{role}"].format(text=shown)


def refers(query: str) -> bool:
    """Whether a question seems to refer to an earlier one: by a word such as `it`, or by brevity.

    English only. The check makes no LLM call.
    """
    return bool(_REFERS.search(query.strip())) or len(_WORD.findall(query)) < 3


def is_rewriting(text: str, query: str, transcript: str) -> bool:
    """Whether a text is the query with words of the conversation in place of references.

    Args:
        text: The output of the model.
        query: The question that refers to the conversation.
        transcript: The conversation.
    """
    if not text.endswith("?") or len(text) > _LONGEST:
        return False
    original, written = _words(query), _words(text)
    wanted = {word for word in original if not _REFERS.fullmatch(word)}
    spoken = _words(transcript)
    invented = {word for word in written - spoken - original if len(word) > 4}
    lost = wanted - written
    return (
        len(lost) <= len(wanted) // 3 and len(invented) <= 2 and bool((written - original) & spoken)
    )


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}
