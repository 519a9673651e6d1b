"""`rag worker`: uploads are ingested by a process of its own."""

from __future__ import annotations

import typer

from rag.cli.application import load_all
from rag.cli.serve import Served


def worker(ctx: typer.Context, configs: Served = None) -> None:
    """Ingest what is uploaded to servers, in a process of its own.

    It takes the settings of `rag serve` and needs the same folder, at the same path, and the same
    --state. Start the servers with --no-ingest, and as many workers as you like.
    """
    import asyncio

    from rag.serve.observe.logs import configure_logging
    from rag.serve.observe.telemetry import tracing
    from rag.serve.service import Service
    from rag.serve.settings.origin import serve_settings
    from rag.serve.worker import ingest_uploads

    settings = serve_settings({**ctx.obj, **({"pipelines": tuple(configs)} if configs else {})})
    configure_logging(settings)
    flows = load_all([*settings.pipelines], [*settings.param], [*settings.allow_import])
    typer.echo(f"ingesting what is uploaded to {', '.join(flows)} (Ctrl-C stops)", err=True)
    with tracing() as tracer:
        asyncio.run(ingest_uploads(Service(flows, settings, tracer)))
