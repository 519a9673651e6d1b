"""A model's tokenizer and chat template, read from its files without transformers."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")


class FastTokenizer:
    """What is used of a fast tokenizer of transformers, by `tokenizers` and jinja2 alone.

    Methods and attributes have the names that they have there. Every method may be called from any
    thread.

    Attributes:
        backend_tokenizer: The tokenizer of `tokenizers`.
        chat_template: As a Jinja template; None: the model has none.

    Args:
        folder: With `tokenizer.json`, `tokenizer_config.json`, and the template in either
            `chat_template.jinja` or the configuration.

    Raises:
        OSError: One of the first two is missing.
        ValueError: One of them says something that is not read here, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        config = json.loads((folder / "tokenizer_config.json").read_text())
        if config.get("clean_up_tokenization_spaces"):
            raise ValueError("spaces are cleaned up behind decoding")
        # `tokenizers` raises Exception itself for a damaged file.
        self.backend_tokenizer: Any = Tokenizer.from_str((folder / "tokenizer.json").read_text())
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        self._lock = threading.Lock()
        self._tokens = {
            name: text for name in _SPECIAL if (text := _text(config.get(name))) is not None
        }
        template = config.get("chat_template")
        beside = folder / "chat_template.jinja"
        if beside.is_file():
            template = beside.read_text()
        if template is not None and not isinstance(template, str):
            raise ValueError("it has several chat templates")
        self.chat_template: str | None = template

    def __call__(
        self,
        text: str,
        *,
        split_special_tokens: bool,
        return_offsets_mapping: bool = False,
        **_: Any,
    ) -> dict[str, list[Any]]:
        """A text's token ids, without those that a model adds itself.

        Args:
            text: The text.
            split_special_tokens: Whether special tokens that it spells out are plain text.
            return_offsets_mapping: Whether to return the characters of each token.
            _: Other arguments that transformers' tokenizers take.

        Returns:
            `input_ids`, and `offset_mapping`: (start, end) of each.
        """
        with self._lock:  # the setting is the tokenizer's and not the call's
            self.backend_tokenizer.encode_special_tokens = split_special_tokens
            encoded = self.backend_tokenizer.encode(text, add_special_tokens=False)
        found: dict[str, list[Any]] = {"input_ids": encoded.ids}
        if return_offsets_mapping:
            found["offset_mapping"] = encoded.offsets
        return found

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of tokens."""
        text: str = self.backend_tokenizer.decode(
            list(ids), skip_special_tokens=skip_special_tokens
        )
        return text

    @property
    def bos_token_id(self) -> int | None:
        """The token that begins a text."""
        return self._id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text."""
        return self._id("eos_token")

    def _id(self, name: str) -> int | None:
        text = self._tokens.get(name)
        found: int | None = None if text is None else self.backend_tokenizer.token_to_id(text)
        return found

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool, **more: Any
    ) -> str:
        """Messages in the chat template, as text.

        Args:
            messages: Each with `role` and `content`.
            add_generation_prompt: Whether the beginning of an answer follows.
            more: What the template is told besides.

        Raises:
            jinja2.TemplateError: The template cannot be read, or refuses the messages.
        """
        more.pop("tokenize", None)
        return str(
            self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
                **more,
            )
        )

    @cached_property
    def _template(self) -> Any:
        """As transformers sets Jinja up: templates of models rely on it."""
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> str:
            raise TemplateError(message)

        def tojson(value: Any, **how: Any) -> str:
            return json.dumps(value, **{"ensure_ascii": False, **how})

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = tojson
        environment.globals["raise_exception"] = refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        return environment.from_string(self.chat_template or "")


def _text(token: Any) -> str | None:
    """A token of the configuration, which may be an object with its content."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
