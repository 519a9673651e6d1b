"""The templates in `prompts.yaml`, by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class PromptTemplate:
    """A text for a model, in which `{name}` stands for a value.

    Args:
        text: The text.
        version: From 1; raised when the text changes.
    """

    text: str
    version: int = 1

    def format(self, **values: object) -> str:
        """The text with the values in the place of their placeholders.

        Unlike `str.format`, other braces stay as they are: a user's own text may hold JSON.
        """

        def value(match: re.Match[str]) -> str:
            return str(values.get(match[1], match[0]))

        return _PLACEHOLDER.sub(value, self.text)


@cache
def prompts() -> dict[str, PromptTemplate]:
    """Every template of `prompts.yaml`, by name."""
    from ruamel.yaml import YAML

    text = Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8")
    entries = YAML(typ="safe", pure=True).load(text)
    return {
        name: PromptTemplate(str(entry["text"]).strip(), int(entry["version"]))
        for name, entry in entries.items()
    }
