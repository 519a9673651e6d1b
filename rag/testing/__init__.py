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
    from rag.testing.suites.composer import ComposerSuite
    from rag.testing.suites.embedder import EmbedderSuite
    from rag.testing.suites.llm import LLMSuite
    from rag.testing.suites.operator import OperatorSuite
    from rag.testing.suites.run_store import RunStoreSuite
    from rag.testing.suites.store import StoreSuite
    from rag.testing.suites.tier import TierSuite

__all__ = [
    "ComposerSuite",
    "EmbedderSuite",
    "LLMCall",
    "LLMSuite",
    "OperatorSuite",
    "Reply",
    "RunStoreSuite",
    "ScriptedEmbedder",
    "ScriptedLLM",
    "ScriptedNLI",
    "ScriptedReranker",
    "StoreSuite",
    "TierSuite",
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
    "suites.composer": ("ComposerSuite",),
    "suites.embedder": ("EmbedderSuite",),
    "suites.llm": ("LLMSuite",),
    "suites.operator": ("OperatorSuite",),
    "suites.run_store": ("RunStoreSuite",),
    "suites.store": ("StoreSuite",),
    "suites.tier": ("TierSuite",),
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use: a suite needs pytest, and some need torch."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"rag.testing.{module}"), name)
    raise AttributeError(f"module 'rag.testing' has no attribute {name!r}")
