"""Libraries of optional extras, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rag.errors import ConfigError


def require(module: str, extra: str, *, where: str | None = None) -> Any:
    """Import a module that an extra of this package installs.

    Args:
        module: Name of the module, such as `ir_measures`.
        extra: Name of the extra, such as `eval`.
        where: What needs it, such as the option `--html`.

    Raises:
        ConfigError: The module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.replace('_', '-')} is not installed",
            where=where,
            fix=f'pip install "modular-rag[{extra}]"',
        ) from error
