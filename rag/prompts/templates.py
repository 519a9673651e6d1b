"""The texts that models are given, by name: the set of `prompts.yaml`, and what replaces it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rag.errors import ConfigError
from rag.names import suggestion

FIXED = "layout_"
"""Begins the names of what is the same for every model: how the parts of a prompt are laid out."""
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
    """Every template of `prompts.yaml`, by name: the set for small models."""
    return _read(Path(__file__).with_name("prompts.yaml"))


def prompt_set(name: str, base: str = "small") -> Mapping[str, PromptTemplate]:
    """A set of all templates, by name.

    Args:
        name: `small`, `strong`, or a YAML file whose texts replace those of `base`. In a file a
            name has a text, or `{version: 2, text: ...}`.
        base: `small` or `strong`.

    Raises:
        ConfigError: The file cannot be read, names no template, or one of the layout.
    """
    if name == "small":
        return prompts()
    if name == "strong":
        return _strong()
    file = Path(name)
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        raise ConfigError(
            f"the prompt file {name} cannot be read: {error.strerror}", where="profile.prompts",
            fix="write small, strong, or the path of a YAML file",
        ) from error  # fmt: skip
    return _of_file(file, changed, base)


@cache
def _strong() -> Mapping[str, PromptTemplate]:
    return {**prompts(), **_read(Path(__file__).with_name("strong.yaml"))}


@cache
def _of_file(file: Path, changed: int, base: str) -> Mapping[str, PromptTemplate]:
    """The set of a file as it was at one time of change."""
    before = prompt_set(base)
    own = _read_own(file)
    for name in own:
        if name not in before or name.startswith(FIXED):
            open_names = [one for one in before if not one.startswith(FIXED)]
            raise ConfigError(
                f"{name!r} is no prompt that can be replaced", where=str(file),
                fix=suggestion(name, open_names),
            )  # fmt: skip
    return {**before, **own}


def _read(file: Path) -> dict[str, PromptTemplate]:
    """One of our own files. Ten times as fast as ruamel: every start reads one."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return _templates(yaml.load(file.read_text(encoding="utf-8"), loader))  # noqa: S506 - safe


def _read_own(file: Path) -> dict[str, PromptTemplate]:
    """A user's file; ruamel refuses a name that is given twice."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return _templates(YAML(typ="safe").load(file.read_text(encoding="utf-8")) or {})
    except (
        YAMLError,
        UnicodeDecodeError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"this is no file of prompts: {reason}", where=str(file),
            fix="give each name a text, once, as `generate: Answer from the sources.`",
        ) from error  # fmt: skip


def _templates(entries: Any) -> dict[str, PromptTemplate]:
    return {str(name): _template(entry) for name, entry in entries.items()}


def _template(entry: Any) -> PromptTemplate:
    if isinstance(entry, str):
        return PromptTemplate(entry.strip())
    return PromptTemplate(str(entry["text"]).strip(), int(entry.get("version", 1)))
