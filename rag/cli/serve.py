"""`rag serve`: pipelines over HTTP. `rag keys`: their API keys."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.application import LOOPBACK, application, load_all
from rag.cli.config import Json
from rag.cli.workers import run_workers
from rag.errors import ConfigError

if TYPE_CHECKING:
    import socket

    from rag.flow import Flow
    from rag.serve.settings.settings import ServeSettings

KEYS = Path(".rag/keys.json")

keys = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

KeyFilePath = Annotated[Path, typer.Option("--keys", help="The file of API keys.")]
AuditLog = Annotated[
    str | None,
    typer.Option(
        help="File that a line is added to, as by `rag serve`; `-`: standard error. Default: none.",
        envvar="RAG_SERVE_AUDIT_LOG",
        show_envvar=False,
        show_default=False,
    ),
]


Served = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PIPELINE]...",
        help="Pipeline files, or names of ready-made pipelines. Default: ./rag.yaml, else "
        "`hybrid`.",
        show_default=False,
    ),
]
"""The pipelines that are served; see `load_all`."""


def serve(
    ctx: typer.Context,
    configs: Served = None,
    show_settings: Annotated[
        bool,
        typer.Option("--show-settings", help="Print all settings and their origins, and exit."),
    ] = False,
) -> None:
    """Serve pipelines: a chat page, an API, and OpenAI's chat completions.

    Without API keys it listens on loopback addresses only. Every option is also a variable
    (--queue-timeout: RAG_SERVE_QUEUE_TIMEOUT; lists have commas), and a line of the YAML file that
    --settings names (queue_timeout: 60). Options count before variables, variables before the file.
    """
    from rag.extras import require

    require("uvicorn", "serve")
    from rag.serve.observe.logs import configure_logging
    from rag.serve.observe.telemetry import tracing
    from rag.serve.settings.origin import described, serve_settings

    given = {**ctx.obj, **({"pipelines": tuple(configs)} if configs else {})}
    settings = serve_settings(given)
    if show_settings:
        for name, value, origin in described(settings, given):
            typer.echo(f"{name}: {value}  # {origin}")
        return
    if settings.keys is None and settings.oidc_issuer is None and settings.host not in LOOPBACK:
        raise ConfigError(
            f"without API keys, anybody who reaches {settings.host} could ask and upload",
            where="--host",
            fix="create keys (rag keys add USER) and pass --keys, or take tokens of an"
            " --oidc-issuer, or listen on 127.0.0.1",
        )
    configure_logging(settings)
    flows = load_all([*settings.pipelines], [*settings.param], [*settings.allow_import])
    with tracing() as tracer:
        _listen(flows, settings, tracer)


def _listen(flows: dict[str, Flow], settings: ServeSettings, tracer: Any) -> None:
    import uvicorn

    from rag.serve.http.connections import BoundedConnection, bounded_connections
    from rag.serve.service import Service

    host, service = settings.host, Service(flows, settings, tracer)
    served = application(service, settings)
    listener = _bound(host, settings.port)
    port = listener.getsockname()[1]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(f"{', '.join(flows)} at {address}/chat/ and {address}/v1 (Ctrl-C stops)", err=True)
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "forwarded_allow_ips": list(settings.trusted_proxies),
    }
    if settings.workers == 1:
        config = uvicorn.Config(served, http=bounded_connections(settings), **options)
        uvicorn.Server(config).run(sockets=[listener])
    else:
        listener.close()  # uvicorn binds it for its processes
        run_workers(service, settings, port, {**options, "http": BoundedConnection})


def _bound(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        ConfigError: The address is taken, or not this machine's.
    """
    import socket

    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            where="--port",
            fix="take another port",
        ) from error
    return listener


@keys.command()
def add(
    user: Annotated[str, typer.Argument(help="Whose key it is.")],
    file: KeyFilePath = KEYS,
    collections: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            help="What is searched; repeatable. Uploads go to the last one. Default: `shared` (the "
            "pipeline's own index), and one of the user's name.",
            show_default=False,
        ),
    ] = None,
    may: Annotated[
        list[str], typer.Option(help="What the user may do: ask, upload, admin; repeatable.")
    ] = ["ask", "upload"],  # noqa: B006 - typer copies it
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            help="Documents whose `access` names it are found; repeatable. `*`: all.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(help="Day on which the key ends (UTC). Default: never.", show_default=False),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Questions and uploads.", show_default=False)
    ] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option(help="That models read and write.", show_default=False)
    ] = None,
    audit_log: AuditLog = None,
) -> None:
    """Create a key and print it; it is not shown again."""
    from rag.serve.identity.keys import KeyFile, id_of
    from rag.serve.observe.audit import audit
    from rag.serve.observe.logs import audit_to

    audit_to(audit_log)
    key = KeyFile(file).add(
        user,
        collections=collections,
        may=may,
        groups=groups or (),
        expires=expires.replace(tzinfo=UTC) if expires else None,
        requests_per_minute=requests_per_minute,
        tokens_per_day=tokens_per_day,
    )
    audit("add_key", user, by=_operator(), key=id_of(key))
    typer.echo(key)


@keys.command("list")
def listed(file: KeyFilePath = KEYS, as_json: Json = False) -> None:
    """List the ids and users of the keys, never the keys themselves."""
    from rag.cli.output import print_json
    from rag.serve.identity.keys import KeyFile

    records = [
        record.model_dump(mode="json", exclude={"sha256"}) for record in KeyFile(file).records()
    ]
    if as_json:
        print_json(records)
        return
    for record in records:
        ends = f"  until {record['expires']}" if record["expires"] else ""
        may = ",".join(record["may"])
        typer.echo(f"{record['id']}  {record['user']}  {may}  {record['created']}{ends}")


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `rag keys list`.")],
    file: KeyFilePath = KEYS,
    audit_log: AuditLog = None,
) -> None:
    """Revoke a key; running servers notice immediately."""
    from rag.serve.identity.keys import KeyFile
    from rag.serve.observe.audit import audit
    from rag.serve.observe.logs import audit_to

    audit_to(audit_log)
    revoked = KeyFile(file).revoke(key)
    audit("revoke_key", revoked.user, by=_operator(), key=key)


def _operator() -> str:
    """The system's name for whoever runs the command."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return f"uid {os.getuid()}"
