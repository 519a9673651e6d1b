"""From the settings of `rag serve` to its application, in the command and in its workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag.cli.config import load
from rag.cli.values import pairs
from rag.errors import ConfigError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from rag.flow import Flow
    from rag.serve.identity.identity import Identify
    from rag.serve.service import Service
    from rag.serve.settings.settings import ServeSettings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def load_all(
    configs: list[str] | None, params: list[str] | None, allow: list[str] | None
) -> dict[str, Flow]:
    """The pipelines that are to be served, by name.

    Raises:
        ConfigError: Two have the same name.
    """
    flows: dict[str, Flow] = {}
    chosen: list[str | None] = [*configs] if configs else [None]
    for config in chosen:
        flow = load(config, params, allow, several=len(chosen) > 1)
        name = flow.name or Path(config or "flow").stem
        if name in flows:
            fix = "give each another name"
            raise ConfigError(f"two pipelines are named {name!r}", where="rag serve", fix=fix)
        flows[name] = flow
    return flows


def application(service: Service, settings: ServeSettings) -> FastAPI:
    """The application that `rag serve` runs.

    Args:
        service: Its parts.
        settings: Of which these are.
    """
    from rag.serve import app

    host = settings.host
    # Against DNS rebinding: on loopback only these host names are served.
    names = settings.allow_host or ([host, "localhost", "127.0.0.1"] if host in LOOPBACK else ["*"])
    return app({}, identity=identify(settings), service=service, origins=settings.cors, hosts=names)


def identify(settings: ServeSettings) -> Identify:
    """Who asks: by key, by token, by either; else a single user."""
    from rag.serve.http.authentication import by_keys, by_tokens
    from rag.serve.identity.identity import single_user
    from rag.serve.identity.issuer import Issuer
    from rag.serve.identity.tokens import Claims, Tokens

    tokens = None
    if settings.oidc_issuer is not None:
        claims = Claims(
            settings.oidc_user,
            settings.oidc_groups,
            settings.oidc_collections,
            settings.oidc_permissions,
            pairs([*settings.oidc_permission], "--oidc-permission"),
        )
        tokens = Tokens(
            Issuer(settings.oidc_issuer),
            settings.oidc_audience,
            claims,
            settings.oidc_algorithms,
            settings.oidc_leeway,
        )
    if settings.keys:
        return by_keys(settings.keys, tokens)
    return by_tokens(tokens) if tokens else single_user
