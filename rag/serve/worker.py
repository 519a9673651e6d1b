"""A process that ingests uploads and answers nothing: `rag worker`."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from rag.serve.service import Service


async def ingest_uploads(service: Service) -> None:
    """Ingest uploads until the process is told to end (SIGTERM, Ctrl-C).

    What goes on then stops between two batches, within `shutdown_timeout`, and is queued again.

    Args:
        service: Of the same state and folder as the servers that accept the uploads.

    Raises:
        ConfigError: The state cannot be opened.
    """
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels the task
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, ended.set)
    await service.state.open()
    service.upload_worker.start()
    service.retention.start()
    try:
        await ended.wait()
    finally:
        await service.retention.stop()
        await service.upload_worker.stop(service.settings.shutdown_timeout)
        await asyncio.to_thread(service.flows.close)
        await service.state.close()
