"""The real small model as an agent, by constrained JSON."""

from __future__ import annotations

from typing import Any

import pytest

from rag.flow import Flow
from rag.models import LLM
from rag.models.actions import decision_schema
from rag.models.tool_calls import ToolDescription
from rag.operators import Agent, Cite
from rag.tools import Tools
from tests.agent.bricks import LENGTH, QUESTION, Scripted, document


class Anything(dict[str, Any]):
    """Finds the same for every query."""

    def get(self, key: str, default: Any = None) -> Any:
        return [document(LENGTH)]


def test_a_small_model_calls_a_tool_and_answers(llm: LLM) -> None:
    pytest.importorskip("llguidance")
    tool = Scripted("search", Anything())
    resources = {"llm": llm, "tools": Tools({"search": tool})}
    flow = Flow(Agent(max_turns=2, max_tokens=64) >> Cite(), resources=resources)
    result = flow.invoke(query=QUESTION)
    assert tool.calls
    assert {use.status for use in result["tool_uses"]} <= {"done", "repeated", "malformed"}
    assert "120" in result["answer"]


def test_what_a_grammar_cannot_enforce_is_left_out(llm: LLM) -> None:
    """Schemas of other people's tools have anything in them."""
    from rag.models.local.grammar import Grammar, grammar_tokenizer
    from rag.models.local.model import LocalLLM

    pytest.importorskip("llguidance")
    assert isinstance(llm, LocalLLM)
    odd = {"type": "object", "properties": {"a": {"not": {"type": "string"}, "format": "odd"}}}
    schema = decision_schema([ToolDescription("odd", "odd", odd)])
    tokenizer = grammar_tokenizer(llm.tokenizer, int(llm.model.config.vocab_size), min(llm.ends))
    import torch

    logits = Grammar(tokenizer, schema).allow(torch.zeros(int(llm.model.config.vocab_size)))
    assert torch.isfinite(logits).any()
