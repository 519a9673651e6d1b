"""Active retrieval (FLARE): the next sentence of an answer, with its confidence."""

from __future__ import annotations

import math
import re
from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt

from rag.flow import RunContext
from rag.models import LLM
from rag.operators.answering import NOTHING_FOUND, AnswerOperator
from rag.operators.claims import MARK
from rag.operators.facts import denies
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import ask, limit, limit_field, prompt_field, with_answer
from rag.operators.support import content_words
from rag.text.abstention import refuses
from rag.text.sentences import sentences

_END = re.compile(
    r"done|end( of (the )?answer)?|the answer is (already )?complete( as it is)?"
    r"|no (further|more|other|additional) (sentences?|information) (is|are) "
    r"(needed|necessary|required)"
    r"|(there is )?nothing (more )?to add",
    re.IGNORECASE,
)
"""What models write instead of a sentence when an answer is complete."""
_CONCLUDES = re.compile(r"\banswer is\b", re.IGNORECASE)
"""In the last step of a reasoning."""


class NextSentence(AnswerOperator):
    """Generates the answer's next sentence, with its confidence (FLARE, arXiv 2305.06983).

    Jiang et al. 2023, section 3.2: the confidence is the probability of the least likely token
    that has a word character. With a model that gives no log-probabilities it is 0, so that the
    flow always retrieves. For long answers, in a loop with `mask_low_confidence` and
    `append_sentence`. LLM calls: 1.
    Reads `query`, `documents` and, if present, `answer` (so far) and `history` (as `generate`
    does); writes `sentence`, `confidence`, `tokens` (with log-probabilities) and `finished`:
    whether the model says so (DONE), declines, or wrote nothing new: each of its words stands in
    one sentence of the answer. Without documents the sentence says that nothing was found.
    With `reason` the sentences are steps of reasoning (IRCoT, Trivedi et al. 2022, arXiv
    2212.10509, section 3), finished by one that says what the answer is.
    Example: `{use: next_sentence}`
    """

    writes = ("sentence", "confidence", "tokens", "finished")

    max_tokens: PositiveInt | None = limit_field(48)
    reason: bool = Field(default=False, description="whether it is a step of reasoning")
    system: str | None = prompt_field("next_sentence")

    async def run(
        self,
        query: str,
        documents: list[Document],
        answer: str = "",
        history: History | None = None,
        *,
        llm: LLM,
        ctx: RunContext,
    ) -> tuple[str, float, list[tuple[str, float]], bool]:
        """The sentence, its confidence, its tokens, and whether the answer is finished."""
        if not documents:
            return "" if answer else NOTHING_FOUND, 1.0, [], True
        call = ModelCall(llm, ctx)
        question = with_answer(call, query, answer, "begun_answer") if answer else query
        name = "next_thought" if self.reason else "next_sentence"
        system = self.system or call.texts[name].text
        done = await ask(
            call, system, question, documents, history=history,
            max_tokens=limit(call, self.max_tokens, 48), logprobs=call.has_logprobs,
            **self.sampling,
        )  # fmt: skip
        sentence = next(iter(sentences(done.text)), "")
        declined = refuses(sentence)
        if is_end(sentence) or not adds(sentence, answer) or (declined and (answer or self.reason)):
            return "", 1.0, [], True
        tokens = _until(list(done.logprobs or ()), sentence)
        words = [logprob for text, logprob in tokens if re.search(r"\w", text)]
        finished = declined or (self.reason and bool(_CONCLUDES.search(sentence)))
        return sentence, math.exp(min(words)) if words else 0.0, tokens, finished


def is_end(sentence: str) -> bool:
    """Whether a model says that the answer is complete, instead of writing a sentence of it."""
    return bool(_END.fullmatch(sentence.strip(" .*()[]")))


def adds(sentence: str, answer: str) -> bool:
    """Whether a sentence says anything that no sentence of the answer says."""
    if not _plain(sentence):
        return False
    words = content_words(MARK.sub("", sentence))
    for one in sentences(answer):
        if _plain(sentence) == _plain(one):
            return False
        if words and words <= content_words(one) and denies(sentence) == denies(one):
            return False
    return True


def _plain(sentence: str) -> str:
    """The sentence without what does not make it another one: case, marks, punctuation."""
    return " ".join(re.findall(r"\w+", MARK.sub("", sentence).casefold()))


def _until(tokens: list[Any], sentence: str) -> list[tuple[str, float]]:
    """The first tokens, which make up the sentence."""
    found: list[tuple[str, float]] = []
    length = 0
    for text, logprob in tokens:
        if length >= len(sentence):
            break
        found.append((text, logprob))
        length += len(text)
    return found
