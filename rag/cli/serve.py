"""`rag serve`: pipelines on the web. `rag keys`: who may ask them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.config import Json, Param, load
from rag.errors import ConfigError

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.serve.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
KEYS = Path(".rag/keys.json")

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

KeyFilePath = Annotated[Path, typer.Option("--keys", help="The file of keys.")]


def serve(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PIPELINE]...", help="Files or names. Default: rag.yaml, or hybrid."
        ),
    ] = None,
    params: Param = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8000,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="File of API keys; each belongs to a tenant.")
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", help="Folder of conversations, uploads and the secret.")
    ] = Path(".rag/serve"),
    cors: Annotated[
        list[str] | None, typer.Option("--cors", help="Origin whose pages may ask; repeatable.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent questions.")] = 4,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Offer the chat page.")] = True,
) -> None:
    """Serve pipelines: a chat page, an API, and OpenAI's chat completions.

    The address must be this machine's own, unless there are keys.
    """
    if keys is None and host not in LOOPBACK:
        raise ConfigError(
            f"anybody who reaches {host} could ask and upload",
            where="--host",
            fix="make keys first (rag keys add TENANT) and give --keys, or listen on 127.0.0.1",
        )
    import rag.serve

    settings = rag.serve.Settings(data=data, concurrency=concurrency, page=page)
    flows: dict[str, Flow] = {}
    chosen: list[str | None] = [*configs] if configs else [None]
    for config in chosen:
        flow = load(config, params)
        name = flow.name or Path(config or "flow").stem
        if name in flows:
            fix = "give each a name of its own"
            raise ConfigError(f"two pipelines are named {name!r}", where="rag serve", fix=fix)
        flows[name] = flow
    _listen(flows, settings, host, port, keys, cors or [])


def _listen(
    flows: dict[str, Flow],
    settings: Settings,
    host: str,
    port: int,
    keys: Path | None,
    cors: list[str],
) -> None:
    import socket

    import uvicorn

    from rag.serve import app
    from rag.serve.server import Server
    from rag.serve.service import Service

    service = Service(flows, settings)
    # Rebinding a name to this address would let foreign pages in: only its own names count.
    hosts = [host, "localhost", "127.0.0.1"] if host in LOOPBACK else ["*"]
    made = app(flows, keys=keys, service=service, cors=cors, hosts=hosts)
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
    config = uvicorn.Config(made, log_level="warning", server_header=False)
    Server(config, service).run(sockets=[listener])


@keys.command()
def add(
    tenant: Annotated[str, typer.Argument(help="The tenant it belongs to.")],
    file: KeyFilePath = KEYS,
) -> None:
    """Make a key and print it, this once only."""
    from rag.serve.keys import KeyFile

    typer.echo(KeyFile(file).add(tenant))


@keys.command("list")
def listed(file: KeyFilePath = KEYS, as_json: Json = False) -> None:
    """List the keys: their ids and tenants, never the keys themselves."""
    from rag.cli.output import print_json
    from rag.serve.keys import KeyFile

    found = [record.model_dump(exclude={"sha256"}) for record in KeyFile(file).records()]
    if as_json:
        print_json(found)
        return
    for one in found:
        typer.echo(f"{one['id']}  {one['tenant']}  {one['created']}")


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `rag keys list`.")],
    file: KeyFilePath = KEYS,
) -> None:
    """Delete a key; servers notice at once."""
    from rag.serve.keys import KeyFile

    KeyFile(file).revoke(key)
