"""How a pipeline wants its index made: where it lies, how documents are cut."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.flow import Flow


def index_path(flow: Flow) -> Path:
    """The folder of the index that the flow names."""
    from rag.index.index import Index

    spec = flow.resources.specs.get("index", Index.default)
    return flow.resources.base / str(spec["path"] if isinstance(spec, dict) else spec)


def splitting(flow: Flow) -> dict[str, int]:
    """`size` and `overlap` of the chunks, in tokens of the embedder."""
    from rag.index.splitting import OVERLAP, SIZE

    spec = flow.resources.specs.get("index")
    given: dict[str, Any] = spec if isinstance(spec, dict) else {}
    return {
        "size": int(given.get("chunk_size", SIZE)),
        "overlap": int(given.get("chunk_overlap", OVERLAP)),
    }


def fingerprint(flow: Flow, cut: dict[str, int]) -> str:
    """Changes when chunks or vectors would come out otherwise."""
    from rag.llm import Embedder

    embedder = flow.resources.specs.get("embedder", Embedder.default)
    text = json.dumps([1, cut, embedder], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
