"""A process that ingests uploads with an embedder that never comes to an end."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag import Flow
from rag.operators import BM25
from rag.serve import Settings
from rag.serve.service import Service
from rag.serve.worker import ingest_uploads
from rag.testing.encoders import ScriptedEmbedder


class Endless(ScriptedEmbedder):
    """Says that it was called, and never answers."""

    def embed(self, texts: Sequence[str]) -> Any:
        print("embedding", flush=True)
        threading.Event().wait()


def main(folder: Path, lease: float) -> None:
    """Ingest what is uploaded to the server of a folder."""
    settings = Settings(data=folder / "data", upload_lease=lease, shutdown_timeout=0.1)
    resources = {"index": str(folder / "index"), "embedder": Endless()}
    asyncio.run(ingest_uploads(Service(Flow(BM25(), name="p", resources=resources), settings)))
    print("ended", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
