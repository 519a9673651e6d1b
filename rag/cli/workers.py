"""The processes of `rag serve --workers`, which uvicorn starts, watches and stops."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rag.cli.application import application, load_all

if TYPE_CHECKING:
    from fastapi import FastAPI

    from rag.serve.service import Service
    from rag.serve.settings.settings import ServeSettings

SETTINGS = "RAG_WORKER_SETTINGS"
"""Variable that has the settings for a worker, as JSON."""
STARTS = 60
"""Seconds in which a worker has to import what it needs, on a slow machine."""


def run_workers(
    service: Service, settings: ServeSettings, port: int, options: dict[str, Any]
) -> None:
    """Serve in several processes until a signal ends it.

    Args:
        service: As every worker makes its own; it is not started.
        settings: Of the server.
        port: That they all listen on.
        options: Of uvicorn.

    Raises:
        ConfigError: The server's state cannot be opened.
    """
    import uvicorn

    from rag.serve.observe.processes import FOLDER

    asyncio.run(_try_state(service))  # else every worker would fail with it
    with TemporaryDirectory(prefix="rag-metrics-") as folder:
        os.environ[SETTINGS] = settings.model_dump_json()
        os.environ.setdefault(FOLDER, folder)
        uvicorn.run(
            "rag.cli.workers:worker",
            factory=True,
            host=settings.host,
            port=port,
            workers=settings.workers,
            timeout_worker_healthcheck=STARTS,
            **options,
        )


def worker() -> FastAPI:
    """The application of one process."""
    from rag.serve.http.connections import BoundedConnection, bounded_connections
    from rag.serve.observe.logs import configure_logging
    from rag.serve.observe.telemetry import tracing
    from rag.serve.service import Service
    from rag.serve.settings.settings import ServeSettings

    settings = ServeSettings(**json.loads(os.environ[SETTINGS]))
    configure_logging(settings)
    # uvicorn passes a class on to its processes by name only.
    bounds = bounded_connections(settings)
    for name in ("header_timeout", "body_timeout", "most"):
        setattr(BoundedConnection, name, getattr(bounds, name))
    flows = load_all([*settings.pipelines], [*settings.param], [*settings.allow_import])
    traces = ExitStack()
    service = Service(flows, settings, traces.enter_context(tracing()))

    async def end() -> None:
        await asyncio.to_thread(traces.close)

    service.on_stop.append(end)
    return application(service, settings)


async def _try_state(service: Service) -> None:
    await service.state.open()
    await service.state.close()
