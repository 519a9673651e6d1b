"""Flows on the web: a router for FastAPI, an OpenAI-compatible API, a chat page."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.serve.http.authentication import oidc
    from rag.serve.http.endpoints import app, router
    from rag.serve.identity.identity import Identity, single_user
    from rag.serve.identity.tokens import Claims
    from rag.serve.settings.settings import Settings

__all__ = ["Claims", "Identity", "Settings", "app", "oidc", "router", "single_user"]
_MODULES = {
    "Claims": "identity.tokens",
    "Identity": "identity.identity",
    "Settings": "settings.settings",
    "oidc": "http.authentication",
    "single_user": "identity.identity",
}


def __getattr__(name: str) -> Any:
    """Import FastAPI when it is asked for, and say what is missing where it is not there."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'rag.serve' has no attribute {name!r}")
    try:
        module = import_module(f"rag.serve.{_MODULES.get(name, 'http.endpoints')}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "rag":
            raise
        from rag.errors import ConfigError

        what = f"serving needs the package {error.name!r}"
        raise ConfigError(what, fix='pip install "modular-rag[serve]"') from error
    return getattr(module, name)
