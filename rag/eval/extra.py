"""The libraries of the extra `eval`, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rag.errors import ConfigError


def library(name: str, where: str | None = None) -> Any:
    """The module of this name.

    Args:
        name: `ir_measures`, `matplotlib`.
        where: The option that needs it.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        what = f"{name.replace('_', '-')} is not installed"
        fix = 'pip install "modular-rag[eval]"'
        raise ConfigError(what, where=where, fix=fix) from error
