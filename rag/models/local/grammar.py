"""Constraining tokens by a JSON schema, with llguidance (the extra `structured`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Grammar:
    """Allows only tokens that can still become an object of a JSON schema.

    Guided generation (Willard and Louf 2023, arXiv 2307.09702, section 3).

    Args:
        tokenizer: llguidance's view of the model's tokenizer (`grammar_tokenizer`).
        schema: A JSON schema.
    """

    def __init__(self, tokenizer: Any, schema: Mapping[str, Any]) -> None:
        from llguidance import LLMatcher

        # Without whitespace to choose, a small model cannot get lost in it. What the library
        # cannot enforce of a schema (of a tool of somebody else's, say) is left out.
        grammar = LLMatcher.grammar_from_json_schema(
            _closed(dict(schema)), overrides={"whitespace_flexible": False, "lenient": True}
        )
        self._matcher = LLMatcher(tokenizer, grammar)

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits [vocabulary], minus infinity where a token is not allowed."""
        import numpy as np
        import torch

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little").astype(bool))
        mask = torch.zeros(len(logits), dtype=torch.bool)
        count = min(len(mask), len(allowed))
        mask[:count] = allowed[:count]
        return logits.masked_fill(~mask.to(logits.device), -torch.inf)

    def take(self, token: int) -> None:
        """Advance by this token."""
        self._matcher.consume_token(token)


@lru_cache(maxsize=4)
def grammar_tokenizer(tokenizer: Any, vocabulary: int, end: int) -> Any:
    """The view of llguidance on a tokenizer, which takes a second to build.

    Args:
        tokenizer: A `FastTokenizer`, or a fast tokenizer of transformers.
        vocabulary: Number of logits.
        end: The token that ends an answer.

    Returns:
        None where llguidance is not installed, or cannot read the tokenizer.
    """
    try:
        from llguidance import LLTokenizer
    except ImportError:
        return None
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is None:
        return None
    plain = copy.deepcopy(backend)
    plain.no_padding()
    plain.no_truncation()
    try:
        return LLTokenizer(plain.to_str(), n_vocab=vocabulary, eos_token=end)
    except ValueError:  # of a kind that it does not know
        return None


def _closed(schema: Any) -> Any:
    """The schema without properties other than those that it names, at every depth."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(value) for key, value in schema.items()}
    if inner.get("type") == "object" and "properties" in inner:
        inner.setdefault("additionalProperties", False)
    return inner
