"""What models are told: every text, by name, in `prompts.yaml` beside this file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Told:
    """A prompt's text, and its version, raised when the text changes."""

    text: str
    version: int


def digest() -> str:
    """Changes with any of the texts: what depends on what models are told depends on it."""
    said = sorted((name, one.version, one.text) for name, one in prompts().items())
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


@cache
def prompts() -> dict[str, Told]:
    """Every text that models are told, by name."""
    from ruamel.yaml import YAML

    text = Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8")
    found = YAML(typ="safe", pure=True).load(text)
    return {
        name: Told(str(one["text"]).strip(), int(one["version"])) for name, one in found.items()
    }
