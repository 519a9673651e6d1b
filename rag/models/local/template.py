"""Prompts in a model's chat template, as token ids."""

from __future__ import annotations

import copy
import hashlib
from functools import cached_property
from typing import Any

from rag.models.local.tokenizer import FastTokenizer
from rag.models.reasoning import OPEN
from rag.prompts.layout import PromptTokens, message_pieces
from rag.prompts.prompt import Prompt

_MARK = "\x00"


class ChatTemplate:
    """Renders and tokenises prompts. Every method may be called from any thread.

    Args:
        tokenizer: A `FastTokenizer`, or a fast tokenizer of transformers, with a chat template.
        reasoning: Whether a template that knows both is to make the model reason.
    """

    def __init__(self, tokenizer: Any, *, reasoning: bool = False) -> None:
        self._tokenizer = tokenizer
        self._reasoning = reasoning
        # Whether special tokens in a text are split is state of a tokenizer of transformers and not
        # of a call, so texts have one of their own. Otherwise a call in another thread could let a
        # document's <|im_end|> through as the token that ends the turn.
        shared = isinstance(tokenizer, FastTokenizer)
        self._text = tokenizer if shared else copy.deepcopy(tokenizer)

    def encode(self, text: str) -> list[int]:
        """A text's token ids; special tokens that it spells out are tokenised as plain text."""
        ids: list[int] = self._text(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return ids

    def spans(self, text: str) -> tuple[list[tuple[int, int]], list[int]]:
        """As `encode`, with the (start, end) of each token in characters: spans, ids."""
        encoded = self._text(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        spans = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
        return spans, list(encoded["input_ids"])

    def clip(self, text: str, tokens: int) -> str:
        """The longest beginning of the text of at most `tokens` tokens."""
        ids = self.encode(text)
        return text if len(ids) <= tokens else str(self._text.decode(ids[:tokens]))

    @property
    def bos(self) -> int:
        """The token that begins a text; where there is none, the one that ends a text."""
        begin = self._tokenizer.bos_token_id
        return int(self._tokenizer.eos_token_id if begin is None else begin)

    def tokenize(self, prompt: Prompt) -> PromptTokens:
        """The prompt's token ids in the chat template.

        Each piece of text is tokenised by itself, so that its tokens depend on no neighbour.
        """
        roles = message_pieces(prompt)
        texts = [text for _, pieces in roles for text in pieces]
        # The template is rendered around marks that stand for the texts, so that its own special
        # tokens are read as such, and those that a text spells out are not.
        marked, number = [], 0
        for role, pieces in roles:
            marks = [f"{_MARK}{number + n}{_MARK}" for n in range(len(pieces))]
            marked.append({"role": role, "content": "".join(marks)})
            number += len(pieces)
        rendered = self._tokenizer.apply_chat_template(
            marked, tokenize=False, add_generation_prompt=True, enable_thinking=self._reasoning
        )
        kinds = [kind for role, pieces in roles for kind in _kinds(role, len(pieces))]
        tokens = PromptTokens([], [], [], [], prompt.scopes)
        current = tokens.prefix
        for at, piece in enumerate(rendered.split(_MARK)):
            if at % 2 == 0:
                current += self._structure(piece)
                continue
            ids = self.encode(texts[int(piece)])
            if kinds[int(piece)] == "chunk":
                tokens.chunks.append(ids)
                current = tokens.suffix
            else:
                current += ids
            if kinds[int(piece)] == "answer" and current is tokens.suffix:
                tokens.turns.append(current[:])
                current.clear()
        return tokens

    def _structure(self, text: str) -> list[int]:
        """The ids of a piece of the template itself, its special tokens as such."""
        if not text:
            return []
        ids: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=False
        )["input_ids"]
        return ids

    @cached_property
    def opens_reasoning(self) -> bool:
        """Whether the template begins every answer with reasoning that it opens itself."""
        ids = self.tokenize(Prompt("question")).ids
        return str(self._tokenizer.decode(ids)).rstrip().endswith(OPEN)

    def digest(self) -> str:
        """A SHA-256 of what determines the tokens of a prompt: tokenizer and template."""
        backend = self._tokenizer.backend_tokenizer.to_str()
        return hashlib.sha256(f"{backend}{self._tokenizer.chat_template}".encode()).hexdigest()


def _kinds(role: str, pieces: int) -> list[str]:
    """What each piece of a message is: a chunk, an earlier answer, or another text."""
    if pieces > 1:
        return ["text", *["chunk"] * (pieces - 2), "text"]
    return ["answer" if role == "assistant" else "text"]
