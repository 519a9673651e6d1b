"""Judgements of a language model: by log-probabilities, or by a Yes or No that it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from langchain_core.documents import Document
from pydantic import Field

from rag.models import LLM, Scored
from rag.models.choice import CHOICE_TOKENS
from rag.operators.model_call import ModelCall
from rag.operators.prompting import clipped, fit_prompt
from rag.prompts.templates import prompts

SCORED = 256
"""Tokens of a text whose log-probability is computed: every call reads them."""

By = Literal["likelihood", "answer"]
"""By log-probabilities, or by the probability of Yes over No."""
ByField = Annotated[
    By | None,
    Field(description="how to judge; default: likelihood if the model gives log-probabilities"),
]
PromptField = Annotated[str | None, Field(description="prompt; default: depends on `by`")]


def method(
    llm: LLM, by: By | None, prompt: str | None, *, likelihood: str, answer: str
) -> tuple[By, str]:
    """How a model judges, and with which prompt.

    Args:
        llm: The model.
        by: As the user wants it; None: by likelihood if the model gives log-probabilities.
        prompt: The user's; None: one of the next two.
        likelihood: Name in `prompts.yaml` of the prompt for likelihoods.
        answer: And of the prompt for Yes or No.
    """
    by = by or ("likelihood" if llm.supports_logprobs else "answer")
    return by, prompt or prompts()[likelihood if by == "likelihood" else answer].text


async def yes(
    call: ModelCall,
    system: str,
    question: str,
    documents: Sequence[Document] = (),
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
) -> float:
    """The probability of Yes over No; 0, with a warning, if the model says neither.

    Args:
        call: The model.
        system: The Yes/No question, which comes last.
        question: What it is asked about.
        documents: The sources.
        history: Earlier turns, older first.
    """
    prompt = fit_prompt(call, "", question, documents, CHOICE_TOKENS, history=history, then=system)
    choice = await call.choose(prompt, ["Yes", "No"], default="No")
    if not choice.certain:
        call.ctx.warn("the model said neither Yes nor No, which counts as No")
        return 0.0
    return choice.probabilities["Yes"]


async def log_likelihood(
    call: ModelCall,
    text: str,
    documents: Sequence[Document],
    question: str,
    system: str = "",
) -> Scored:
    """The log-probabilities of a text's tokens, given documents, as the answer to a question.

    Args:
        call: A model that gives log-probabilities.
        text: Its first 256 tokens count.
        documents: Not numbered, so that what was computed of one can be reused.
        question: What the text answers.
        system: The instruction.
    """
    said = clipped(call, text, SCORED, "text to judge by")
    size = call.llm.count(said)
    prompt = fit_prompt(call, system, question, documents, size, numbered=False)
    (found,) = await call.score(prompt, [said])
    return found


async def explained(
    call: ModelCall,
    text: str,
    groups: Sequence[Sequence[Document]],
    question: str,
    system: str = "",
) -> list[float]:
    """For each group of documents, the share of the text's surprisal that it explains.

    1 - log p(text | documents) / log p(text): their pointwise mutual information (Church and
    Hanks 1990, section 2), divided by the text's own information. At most 0: the documents say
    nothing about it; towards 1: they make it predictable. LLM calls: groups + 1. Arguments as
    of `log_likelihood`.
    """
    if not groups or not text.strip():
        return [0.0] * len(groups)
    alone = await log_likelihood(call, text, (), question, system)
    given = [await log_likelihood(call, text, documents, question, system) for documents in groups]
    return [1 - one.total / min(alone.total, -1e-9) for one in given]


def mean_probability(logprobs: Sequence[tuple[str, float]]) -> float:
    """The geometric mean of the tokens' probabilities, 0 to 1.

    Args:
        logprobs: At least one token and its natural log-probability.
    """
    return math.exp(sum(value for _, value in logprobs) / len(logprobs))
