"""Calls of a model are counted, whichever operator makes them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from pydantic import BaseModel

from rag.errors import BudgetError
from rag.flow import Budget, Flow, RunContext, operator
from rag.flow.run.events import Done, Token
from rag.models import LLM, Prompt, Sampling
from rag.operators import Generate, KnowledgeJudge, StructuredAnswer
from rag.operators.catalogue import FOLDER
from rag.operators.model_call import ModelCall
from rag.testing.llm import Reply, ScriptedLLM


class Form(BaseModel):
    """What a model fills in."""

    value: int


TWO = Reply("some", prompt_tokens=1)
"""An answer that costs two tokens."""


class Surprised(ScriptedLLM):
    """Three tokens of a text, whatever it is."""

    async def token_surprisal(self, text: str, after: str = "") -> list[tuple[int, int, float]]:
        return [(n, n + 1, 1.0) for n in range(3)]


PROMPT, SAMPLING = Prompt("Who?"), Sampling()
CALLS: dict[str, tuple[Callable[[ModelCall], Awaitable[Any]], int, int]] = {
    "generate": (lambda call: call.generate(PROMPT, SAMPLING), 1, 2),
    "stream": (lambda call: call.stream(PROMPT, SAMPLING), 1, 2),
    "ensemble": (lambda call: call.ensemble([PROMPT], [1.0], SAMPLING), 1, 2),
    "choose": (lambda call: call.choose(PROMPT, ["Yes", "No"]), 1, 3),
    "score": (lambda call: call.score(PROMPT, ["Yes", "No"]), 1, 3),
    # The answer is no object, so it is asked for a second time.
    "structured": (lambda call: call.structured(PROMPT, Form, SAMPLING), 2, 4),
    # So is what is no decision for a tool.
    "act": (lambda call: call.act(PROMPT, (), (), SAMPLING), 2, 4),
    "token_surprisals": (lambda call: call.token_surprisals("a b c"), 1, 3),
}


def asking(name: str, llm: LLM, before: int = 0, budget: Budget | None = None) -> Flow:
    @operator(writes="done")
    async def ask(query: str, *, llm: LLM, ctx: RunContext) -> bool:
        ctx.spend(llm_calls=before)
        await CALLS[name][0](ModelCall(llm, ctx))
        return True

    return Flow(ask(), resources={"llm": llm}, budget=budget)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_counts_itself_and_its_tokens(name: str) -> None:
    events = list(asking(name, Surprised(TWO, probability=0.5)).stream(query="?"))
    (done,) = [event for event in events if isinstance(event, Done)]
    _, calls, tokens = CALLS[name]
    assert (done.llm_calls, done.tokens) == (calls, tokens)
    streamed = [event.text for event in events if isinstance(event, Token)]
    assert streamed == (["some"] if name in ("stream", "ensemble") else [])


@pytest.mark.parametrize("name", CALLS)
def test_no_call_is_made_beyond_the_budget(name: str) -> None:
    llm = Surprised(TWO, probability=0.5)
    with pytest.raises(BudgetError):
        asking(name, llm, 1, Budget(llm_calls=1)).invoke(query="?")
    assert llm.names == []


def test_every_method_of_the_model_is_wrapped() -> None:
    public = {name for name in vars(ModelCall) if not name.startswith("_")} - {
        "has_logprobs", "scores", "strong", "texts", "together",
    }  # fmt: skip
    assert public == CALLS.keys()


def test_no_operator_calls_the_model_past_it() -> None:
    past = re.compile(
        r"\bllm\.(?:generate|stream|ensemble|score|token_surprisal)\("
        r"|await (?:choose|structured)\(|\bnext_action\(|\.(?:spend|model_called)\("
    )
    found = {file.name for file in FOLDER.rglob("*.py") if past.search(file.read_text())}
    assert found == {"model_call.py"}


def test_operators_are_charged() -> None:
    documents = [Document(page_content="The keeper opens it.")]
    for step, calls in ((Generate(), 1), (StructuredAnswer(), 2), (KnowledgeJudge(), 2)):
        kinds = {"query": str, "documents": list[Document]}
        flow = Flow(step, inputs=kinds, resources={"llm": ScriptedLLM(TWO)})
        *_, done = flow.stream(query="Who?", documents=documents)
        assert (done.llm_calls, done.tokens) == (calls, 2 * calls)
