"""For tests of your own: scripted models, assertions over runs, conformance suites.

Scripted models and assertions need no pytest; the suites do.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.testing.assertions import (
        assert_events,
        assert_not_ran,
        assert_ran,
        assert_tokens,
        prompts_of,
        streamed,
        the,
    )
    from rag.testing.encoders import ScriptedEmbedder, ScriptedNLI, ScriptedReranker
    from rag.testing.llm import LLMCall, Reply, ScriptedLLM, rate_limit_error, timeout_error

__all__ = [
    "LLMCall",
    "Reply",
    "ScriptedEmbedder",
    "ScriptedLLM",
    "ScriptedNLI",
    "ScriptedReranker",
    "assert_events",
    "assert_not_ran",
    "assert_ran",
    "assert_tokens",
    "prompts_of",
    "rate_limit_error",
    "streamed",
    "the",
    "timeout_error",
]

_MODULES = {
    "assertions": (
        "assert_events",
        "assert_not_ran",
        "assert_ran",
        "assert_tokens",
        "prompts_of",
        "streamed",
        "the",
    ),
    "encoders": ("ScriptedEmbedder", "ScriptedNLI", "ScriptedReranker"),
    "llm": ("LLMCall", "Reply", "ScriptedLLM", "rate_limit_error", "timeout_error"),
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use: a suite needs pytest, and some need torch."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"rag.testing.{module}"), name)
    raise AttributeError(f"module 'rag.testing' has no attribute {name!r}")
