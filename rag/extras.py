"""Libraries of optional extras, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
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
        raise _missing(module, extra, where) from error


def check_installed(module: str, extra: str, *, where: str | None = None) -> None:
    """Say in time that a module is missing, without the seconds that its import may take.

    Args:
        module: Name of the module at the top of its package, such as `peft`.
        extra: Name of the extra, such as `train`.
        where: What needs it, such as the option `--html`.

    Raises:
        ConfigError: The module is not installed.
    """
    if find_spec(module) is None:
        raise _missing(module, extra, where)


def _missing(module: str, extra: str, where: str | None) -> ConfigError:
    return ConfigError(
        f"{module.replace('_', '-')} is not installed",
        where=where,
        fix=f'pip install "modular-rag[{extra}]"',
    )
