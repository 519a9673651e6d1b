"""Active retrieval: the answer sentence by sentence, looking up what the model is unsure of."""

from __future__ import annotations

import math
import re
from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.operators.asking import Asking, about, told
from rag.text.sentences import sentences

Token = tuple[str, float]


class NextSentence(Asking):
    """Writes the answer's next sentence, and says how sure it is (FLARE, arXiv 2305.06983).

    Jiang et al. 2023, section 3.2: confidence is the probability of the least likely token that
    says something. A model that tells no likelihoods has the confidence 0: it looks up always.
    For long answers, in a loop with `mask_doubt` and `append_sentence`. LLM calls: 1.
    Reads `query`, `documents` and, where there is one, `answer`; writes `sentence`, `confidence`,
    `tokens` and `finished`: nothing new was written.
    Example: `{use: next_sentence}`
    """

    writes = ("sentence", "confidence", "tokens", "finished")

    max_tokens: PositiveInt = Field(default=48, description="the sentence at most")
    system: str = told("next_sentence")

    async def run(
        self, query: str, documents: list[Document], answer: str = "", *, llm: LLM, ctx: RunContext
    ) -> tuple[str, float, list[Token], bool]:
        """Write it."""
        asked = about(llm, ctx, query, answer, "begun_answer") if answer else query
        done = await self._ask(
            llm, ctx, self.system, asked, documents, logprobs=llm.supports_logprobs
        )
        sentence = next(iter(sentences(done.text)), "")
        if sentence.casefold() in ("", *(one.casefold() for one in sentences(answer))):
            return "", 1.0, [], True
        tokens = _until(list(done.logprobs or ()), sentence)
        sure = [logprob for text, logprob in tokens if re.search(r"\w", text)]
        return sentence, math.exp(min(sure)) if sure else 0.0, tokens, False


class MaskDoubt(Operator):
    """Makes a query of a sentence by leaving out what the model was unsure of.

    FLARE's implicit query (arXiv 2305.06983, section 3.2.2), for what `next_sentence` was not
    sure of. Asks no model. Where nothing is left
    the question itself is the query.
    Reads `query`, `sentence` and `tokens`; writes `search`.
    Example: `{use: mask_doubt, threshold: 0.4}`
    """

    writes = "search"
    light = True

    threshold: float = Field(default=0.4, ge=0, le=1, description="probability of what is kept")

    def run(self, query: str, sentence: str, tokens: list[Token]) -> str:
        """Leave out the unlikely words."""
        if not tokens:
            return f"{query} {sentence}".strip()
        kept = "".join(
            text if math.exp(logprob) >= self.threshold else re.sub(r"\S", "", text) or " "
            for text, logprob in tokens
        )
        found = " ".join(kept.split())
        return found if re.search(r"\w{3}", found) else query


class AppendSentence(Operator):
    """Puts the next sentence behind the answer.

    FLARE's loop (arXiv 2305.06983, section 3.2): its last step. Asks no model.
    Reads `sentence` and, where there is one, `answer`; writes `answer`.
    Example: `{use: append_sentence}`
    """

    writes = "answer"
    light = True

    def run(self, sentence: str, answer: str = "") -> str:
        """Put them together."""
        return f"{answer} {sentence}".strip()


def _until(tokens: list[Any], sentence: str) -> list[Token]:
    """The first tokens, which make up the sentence."""
    found: list[Token] = []
    length = 0
    for text, logprob in tokens:
        if length >= len(sentence):
            break
        found.append((text, logprob))
        length += len(text)
    return found
