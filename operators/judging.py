"""Judgements of a language model: by log-probabilities, a Yes or No, or a grade from 0 to 4."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from langchain_core.documents import Document
from pydantic import Field

from rag.models import Scored
from rag.models.choice import CHOICE_TOKENS
from rag.operators.model_call import ModelCall
from rag.operators.prompting import clipped, fit_prompt, limit

SCORED = 256
"""Tokens of a text whose log-probability is computed: every call reads them."""
GRADES = ("0", "1", "2", "3", "4")

By = Literal["likelihood", "answer", "grade"]
"""By log-probabilities of a text, by the probability of Yes over No, or by a grade."""
ByField = Annotated[
    By | None,
    Field(
        description="how to judge; default: likelihood if the model scores texts, as a local one "
        "does; else grade"
    ),
]
PromptField = Annotated[str | None, Field(description="prompt; default: depends on `by`")]


def method(
    call: ModelCall, by: By | None, prompt: str | None, *, likelihood: str, answer: str
) -> tuple[By, str]:
    """How a model judges, and with which prompt.

    Args:
        call: The model.
        by: As the user wants it; None: by likelihood if the model scores texts, else by grade.
        prompt: The user's; None: one of the model's prompt set.
        likelihood: Name of the prompt for likelihoods.
        answer: And of the prompt for Yes or No; `grade_` before it is that for grades.
    """
    by = by or ("likelihood" if call.scores else "grade")
    names: dict[By, str] = {"likelihood": likelihood, "answer": answer, "grade": f"grade_{answer}"}
    return by, prompt or call.texts[names[by]].text


async def judged(
    call: ModelCall,
    by: By,
    system: str,
    question: str,
    documents: Sequence[Document] = (),
    *,
    history: Sequence[Mapping[str, Any]] | None = None,
) -> float:
    """The answer to a question of judgement, 0 to 1: by `answer` or by `grade`.

    By `answer` the probability of Yes over No. By `grade` the mean of the grades 0 to 4 by their
    probabilities, divided by 4 (G-Eval, Liu et al. 2023, arXiv 2303.16634, section 2); without
    log-probabilities the grade that is named. 0, with a warning, if the model names nothing.

    Args:
        call: The model.
        by: `answer` or `grade`.
        system: The instruction, which comes last.
        question: What is judged.
        documents: The sources.
        history: Earlier turns, older first.
    """
    room = limit(call, None, CHOICE_TOKENS)
    prompt = fit_prompt(call, "", question, documents, room, history=history, then=system)
    if by == "answer":
        choice = await call.choose(prompt, ["Yes", "No"], default="No")
        if not choice.certain:
            call.ctx.warn("the model said neither Yes nor No, which counts as No")
            return 0.0
        return choice.probabilities["Yes"]
    choice = await call.choose(prompt, GRADES, default="0")
    if not choice.certain:
        call.ctx.warn("the model named no grade, which counts as 0")
        return 0.0
    return sum(int(grade) * p for grade, p in choice.probabilities.items()) / int(GRADES[-1])


async def log_likelihood(
    call: ModelCall,
    text: str,
    documents: Sequence[Document],
    question: str,
    system: str = "",
) -> Scored:
    """The log-probabilities of a text's tokens, given documents, as the answer to a question.

    Args:
        call: A model that scores texts.
        text: Its first 256 tokens count.
        documents: Not numbered, so that what was computed of one can be reused.
        question: What the text answers.
        system: The instruction.
    """
    shown = clipped(call, text, SCORED, "text to judge by")
    size = call.llm.count(shown)
    prompt = fit_prompt(call, system, question, documents, size, numbered=False)
    (found,) = await call.score(prompt, [shown])
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

    async def likelihood(documents: Sequence[Document]) -> float:
        return (await log_likelihood(call, text, documents, question, system)).total

    alone, *given = await call.together(likelihood, [(), *groups])
    return [1 - one / min(alone, -1e-9) for one in given]


def mean_probability(logprobs: Sequence[tuple[str, float]]) -> float:
    """The geometric mean of the tokens' probabilities, 0 to 1.

    Args:
        logprobs: At least one token and its natural log-probability.
    """
    return math.exp(sum(value for _, value in logprobs) / len(logprobs))
