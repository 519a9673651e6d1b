"""Digests of what an answer depends on: if the digest differs, the answer may differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.flow import Flow, Resource, SubFlow
from rag.flow.memory.fingerprint import fingerprint
from rag.index import Index
from rag.index.spec import IndexSpec
from rag.models import LLM, Embedder
from rag.prompts.digest import digest

if TYPE_CHECKING:
    from rag.eval.beir import Dataset


def answers_digest(flow: Flow, data: Dataset, judge: str) -> str:
    """The digest of everything that the answers to a data set's questions depend on.

    Args:
        flow: The pipeline as loaded, before its resources are opened.
        data: Its corpus counts. Its questions do not: each cached answer names its own.
        judge: The judge's digest.
    """
    return _digest([flow_digest(flow), data.digest, judge])


def flow_digest(flow: Flow) -> str:
    """The digest of what a flow does: nodes, inputs, outputs, budget, resources and prompts.

    A resource that a step takes counts by its specification, or by its default if the pipeline
    does not name it. A resource that was passed in open counts by its `id`; one without an `id`
    is equal to no other. An index counts by how it is filled, not by its path.
    """
    inner = [node.flow for _, node in flow.walk() if isinstance(node, SubFlow)]
    resources = [_resources(one) for one in (flow, *inner)]
    return _digest([fingerprint(flow), repr(flow.budget), resources, digest()])


def _resources(flow: Flow) -> dict[str, Any]:
    """The resources that the steps take: name to specification."""
    base, specs = flow.resources.base, flow.resources.specs
    defaults = {name: kind.default for _, name, kind in flow.needs}
    described = {name: _spec(specs.get(name, other), base) for name, other in defaults.items()}
    index = specs.get("index", Index.default)
    if "index" in defaults and not isinstance(index, Resource):
        embedder = _spec(specs.get("embedder", Embedder.default), base)
        llm = _spec(specs.get("llm", LLM.default), base)
        described["index"] = IndexSpec.of(index).fingerprint(embedder, llm)
    return described


def _spec(spec: Any, base: Path) -> Any:
    """A specification as JSON data; paths are absolute."""
    match spec:
        case Resource():
            return [type(spec).__qualname__, getattr(spec, "id", repr(spec)), spec.version()]
        case Mapping():
            return {str(key): _spec(value, base) for key, value in spec.items()}
        case list() | tuple():
            return [_spec(value, base) for value in spec]
        case str() if spec.startswith((".", "~", "/")):
            return str((base / Path(spec).expanduser()).resolve())
        case _:
            return spec


def _digest(parts: list[Any]) -> str:
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
