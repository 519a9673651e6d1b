"""Classes of LangChain's packages, by their dotted names in pipeline files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from rag.errors import ConfigError
from rag.flow.resources import Use

TRUSTED = "langchain_"
"""Pipeline files may import classes from LangChain's own packages, and from no others."""


def imported(dotted: str) -> Any:
    """A class of LangChain's packages, or a method of one: `package.Class.method`.

    Raises:
        ConfigError: It is in no package of LangChain, or cannot be imported.
    """
    module, _, name = dotted.replace(":", ".").rpartition(".")
    owner, _, last = module.rpartition(".")
    method = name if last[:1].isupper() else None
    if method is not None:
        module, name = owner, last
    if not module.startswith(TRUSTED) or (method or "").startswith("_"):
        raise ConfigError(
            f"{dotted!r} is not in a package of LangChain", where="use",
            fix="pipeline files import from langchain_* packages only; pass others as objects",
        )  # fmt: skip
    try:
        kind = getattr(importlib.import_module(module), name)
        return getattr(kind, method) if method else kind
    except (ImportError, AttributeError) as error:
        package = module.split(".")[0].replace("_", "-")
        raise ConfigError(
            f"{dotted!r} cannot be imported: {error}", where="use", fix=f"pip install {package}"
        ) from error


def foreign_class(dotted: str, base: str) -> Any:
    """The class called `dotted`, a subclass of the one called `base`.

    Raises:
        ConfigError: It is in no package of LangChain, cannot be imported, or is no such class.
    """
    kind, wanted = imported(dotted), imported(base)
    if not (isinstance(kind, type) and issubclass(kind, wanted)):
        what = f"{dotted!r} is not a {wanted.__name__}"
        raise ConfigError(what, where="use", fix=f"name a subclass of {base}")
    return kind


def called(maker: Any, dotted: str, arguments: Mapping[str, Any]) -> Any:
    """The object that a class, or a method of one, makes of keyword arguments.

    Raises:
        ConfigError: It does not accept them.
    """
    try:
        return maker(**arguments)
    except Exception as error:  # each package has its own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{dotted} does not accept these arguments: {reason}", where="use"
        ) from error


def made(use: Use, base: str) -> Any:
    """The object that `{use: package.Class, ...arguments}` describes.

    Args:
        use: The class and its arguments.
        base: The dotted name of the class that it must be a subclass of.

    Raises:
        ConfigError: As `foreign_class` and `called`.
    """
    return called(foreign_class(use.use, base), use.use, use.arguments)
