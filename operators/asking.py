"""What operators share that ask a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from langchain_core.documents import Document
from pydantic import BaseModel, Field, PositiveInt

from rag.flow import Operator, RunContext
from rag.models import LLM, Generation, Prompt, Sampling, Scored, choose, structured
from rag.models.choice import CHOICE_TOKENS
from rag.prompts.sanitize import harmless
from rag.prompts.templates import prompts
from rag.text.splitting import embedding_text

M = TypeVar("M", bound=BaseModel)

MARGIN = 64
"""Tokens kept free for the chat template."""
DELIMITER = 16
"""Tokens around each source."""
SCORED = 256
"""Tokens of a text whose likelihood is asked: every call reads them."""


By = Literal["likelihood", "answer"]


def told(name: str) -> Any:
    """The field with a prompt of `prompts.yaml` as its default."""
    one = prompts()[name]
    return Field(default=one.text, description=f"what the model is told (version {one.version})")


class Judging(Operator):
    """Base of the operators that a language model decides for."""

    span_kind = "LLM"

    async def _yes(
        self,
        llm: LLM,
        ctx: RunContext,
        system: str,
        question: str,
        documents: Sequence[Document] = (),
    ) -> float:
        """The probability of Yes over No; 0, with a warning, where the model says neither."""
        ctx.spend(llm_calls=1)
        prompt = fitting(llm, ctx, "", question, documents, CHOICE_TOKENS, then=system)
        choice = await choose(llm, prompt, ["Yes", "No"], default="No")
        ctx.spend(tokens=choice.tokens)
        if not choice.certain:
            ctx.warn("the model said neither Yes nor No, which counts as No")
            return 0.0
        return choice.probabilities["Yes"]

    async def _likelihood(
        self,
        llm: LLM,
        ctx: RunContext,
        text: str,
        documents: Sequence[Document],
        question: str,
        system: str = "",
    ) -> Scored:
        """How likely the text is behind the documents, as the answer to the question.

        Args:
            llm: Tells likelihoods.
            ctx: Is charged.
            text: Its first 256 tokens count.
            documents: Not numbered, so that what was computed of one is of use again.
            question: What the text answers.
            system: What the model is told.
        """
        said = clipped(llm, ctx, text, SCORED, "text to judge by")
        prompt = fitting(llm, ctx, system, question, documents, llm.count(said), numbered=False)
        ctx.spend(llm_calls=1)
        (found,) = await llm.score(prompt, [said])
        ctx.spend(tokens=found.prompt_tokens + len(found.logprobs))
        return found

    async def _explained(
        self,
        llm: LLM,
        ctx: RunContext,
        text: str,
        groups: Sequence[Sequence[Document]],
        question: str,
        system: str = "",
    ) -> list[float]:
        """For each group of documents, the share of the text's surprise that it takes away.

        1 - log p(text | documents) / log p(text): their pointwise mutual information (Church and
        Hanks 1990, section 2) over what the text carries by itself. 0 and below: the documents
        say nothing of it; towards 1: they foretell it. LLM calls: groups + 1. Arguments as of
        `_likelihood`.
        """
        if not groups or not text.strip():
            return [0.0] * len(groups)
        alone = await self._likelihood(llm, ctx, text, (), question, system)
        behind = [
            await self._likelihood(llm, ctx, text, documents, question, system)
            for documents in groups
        ]
        return [1 - one.total / min(alone.total, -1e-9) for one in behind]


class Weighing(Judging):
    """Base of the judges that go by likelihood, or by whether the model says Yes."""

    by: By | None = Field(
        default=None,
        description="how it is judged; not given: by likelihood where the model tells any",
    )
    system: str | None = Field(default=None, description="what the model is told; by `by`")

    def _way(self, llm: LLM, likely: str, said: str) -> tuple[By, str]:
        """How it is judged with this model, and what the model is told.

        Args:
            llm: The model.
            likely: The prompt's name where likelihoods judge.
            said: And where Yes or No does.
        """
        by = self.by or ("likelihood" if llm.supports_logprobs else "answer")
        return by, self.system or prompts()[likely if by == "likelihood" else said].text


class Asking(Operator):
    """Base of the operators that ask a language model for a text."""

    span_kind = "LLM"

    max_tokens: PositiveInt = Field(default=64, description="the model's answer at most")

    async def _ask(
        self,
        llm: LLM,
        ctx: RunContext,
        system: str,
        question: str,
        documents: Sequence[Document] = (),
        **sampling: Any,
    ) -> Generation:
        """The model's answer; what does not fit its window is left out, with a warning."""
        settings = Sampling(**{"max_tokens": self.max_tokens, **sampling})
        prompt = fitting(llm, ctx, system, question, documents, settings.max_tokens)
        ctx.spend(llm_calls=1)
        done = await llm.generate(prompt, settings)
        ctx.spend(tokens=done.prompt_tokens + done.completion_tokens)
        return done

    async def _fill(self, llm: LLM, ctx: RunContext, prompt: Prompt, form: type[M]) -> M | None:
        """The form as the model filled it in; None where it gave no such object."""
        ctx.spend(llm_calls=1)
        done = await structured(llm, prompt, form, Sampling(max_tokens=self.max_tokens))
        ctx.spend(llm_calls=done.calls - 1, tokens=done.tokens)
        return done.value


def fitting(
    llm: LLM,
    ctx: RunContext,
    system: str,
    question: str,
    documents: Sequence[Document],
    answer: int,
    *,
    then: str = "",
    numbered: bool = True,
) -> Prompt:
    """A prompt that fits the model's window, with a warning of what was left out.

    Args:
        llm: The model.
        ctx: Gets the warnings.
        system: What the model is told.
        question: Cut at half of the window.
        documents: Best first; from the first one on that does not fit they are left out, so
            that the numbers in the prompt are the documents' own.
        answer: Tokens kept free for the answer.
        then: What is asked behind the question; never cut.
        numbered: Whether the sources get numbers.
    """
    fixed = llm.count(system) + llm.count(then)
    asked = clipped(llm, ctx, question, llm.window // 2 - fixed, "question")
    room = max(llm.window - fixed - llm.count(asked) - answer - MARGIN, 1)
    chunks: list[str] = []
    for document in documents:
        text = embedding_text(document)
        size = llm.count(text) + DELIMITER
        if size > room and not chunks:
            text = llm.clip(text, max(room - DELIMITER, 1))
            ctx.warn(
                f"a document is cut to {len(text)} characters by the window of {llm.window} tokens"
            )
        elif size > room:
            ctx.warn(
                f"{len(documents) - len(chunks)} of {len(documents)} documents do not fit the "
                f"model's window of {llm.window} tokens"
            )
            break
        chunks.append(text)
        room = max(room - size, 0)
    return Prompt(
        question=f"{asked}\n{then}" if then else asked,
        system=system,
        chunks=tuple(chunks),
        numbered=numbered,
    )


Quoted = Literal["answer", "answer_so_far", "begun_answer", "statement", "statement_so_far"]
"""What `about` shows: each has a template `quote_...`."""


def about(llm: LLM, ctx: RunContext, query: str, answer: str, what: Quoted = "answer") -> str:
    """The question together with an answer, which may quote a document's delimiters.

    Each is cut at a sixth of the window, with a warning, so that the one leaves room for the other.
    """
    room = llm.window // 6
    asked = clipped(llm, ctx, query, room, "question")
    text = clipped(llm, ctx, harmless(answer), room, what.replace("_", " "))
    return prompts()[f"quote_{what}"].format(query=asked, text=text)


def clipped(llm: LLM, ctx: RunContext, text: str, tokens: int, what: str) -> str:
    """The text's first tokens, at least one, with a warning where that is not all."""
    kept = llm.clip(text, max(tokens, 1))
    if len(kept) < len(text):
        ctx.warn(f"the {what} is cut to {len(kept)} of {len(text)} characters")
    return kept
