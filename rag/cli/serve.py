"""`rag serve`: pipelines over HTTP. `rag keys`: their API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.config import AllowImport, Json, Param, load
from rag.errors import ConfigError

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.serve.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
KEYS = Path(".rag/keys.json")

keys = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

KeyFilePath = Annotated[Path, typer.Option("--keys", help="The file of API keys.")]


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
    configs: Served = None,
    params: Param = None,
    allow: AllowImport = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")
    ] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            help="File of API keys. Default: no keys.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder of conversations, uploads and the server's secret."),
    ] = Path(".rag/serve"),
    cors: Annotated[
        list[str] | None,
        typer.Option(
            "--cors",
            help="Origin whose pages may call the API; repeatable.",
            show_default=False,
        ),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help="Name under which the server is reached; repeatable. Default: on loopback its "
            "own, else any.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions answered at a time.")] = 4,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the chat page.")] = True,
) -> None:
    """Serve pipelines: a chat page, an API, and OpenAI's chat completions.

    Without API keys it listens on loopback addresses only.
    """
    if keys is None and host not in LOOPBACK:
        raise ConfigError(
            f"without API keys, anybody who reaches {host} could ask and upload",
            where="--host",
            fix="create keys (rag keys add USER) and pass --keys, or listen on 127.0.0.1",
        )
    import rag.serve

    settings = rag.serve.Settings(data=data, concurrency=concurrency, page=page)
    flows = load_all(configs, params, allow)
    _listen(flows, settings, host, port, keys, cors or [], allowed_hosts)


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
        flow = load(config, params, allow)
        name = flow.name or Path(config or "flow").stem
        if name in flows:
            fix = "give each another name"
            raise ConfigError(f"two pipelines are named {name!r}", where="rag serve", fix=fix)
        flows[name] = flow
    return flows


def _listen(
    flows: dict[str, Flow],
    settings: Settings,
    host: str,
    port: int,
    keys: Path | None,
    cors: list[str],
    hosts: list[str] | None,
) -> None:
    import socket

    from rag.extras import require

    uvicorn = require("uvicorn", "serve")
    from rag.serve import app
    from rag.serve.identity import single_user
    from rag.serve.server import Server
    from rag.serve.service import Service

    service = Service(flows, settings)
    # Against DNS rebinding: on loopback only these host names are served.
    names = hosts or ([host, "localhost", "127.0.0.1"] if host in LOOPBACK else ["*"])
    who = None if keys else single_user
    application = app(flows, identity=who, keys=keys, service=service, origins=cors, hosts=names)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
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
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    typer.echo(f"{', '.join(flows)} at {address}/chat/ and {address}/v1 (Ctrl-C stops)", err=True)
    config = uvicorn.Config(application, log_level="warning", server_header=False)
    Server(config, service).run(sockets=[listener])


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
) -> None:
    """Create a key and print it; it is not shown again."""
    from rag.serve.keys import KeyFile

    typer.echo(
        KeyFile(file).add(
            user,
            collections=collections,
            may=may,
            groups=groups or (),
            expires=expires.replace(tzinfo=UTC) if expires else None,
            requests_per_minute=requests_per_minute,
            tokens_per_day=tokens_per_day,
        )
    )


@keys.command("list")
def listed(file: KeyFilePath = KEYS, as_json: Json = False) -> None:
    """List the ids and users of the keys, never the keys themselves."""
    from rag.cli.output import print_json
    from rag.serve.keys import KeyFile

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
) -> None:
    """Revoke a key; running servers notice immediately."""
    from rag.serve.keys import KeyFile

    KeyFile(file).revoke(key)
