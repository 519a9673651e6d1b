"""What an answer depends on, as a digest: another digest, another answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.flow import Flow, Operator, Resource
from rag.flow.constructs import SubFlow
from rag.flow.memory.checkpoints import digest_of
from rag.index import Index
from rag.index.spec import IndexSpec
from rag.models import LLM, Embedder
from rag.prompts.digest import digest

if TYPE_CHECKING:
    from rag.eval.beir import Dataset
    from rag.eval.support import Judge


def depends(flow: Flow, data: Dataset, judge: Judge) -> str:
    """The digest of all that the answers to a data set's questions depend on.

    Args:
        flow: The pipeline as its file says it, before its resources are opened.
        data: Its corpus counts. The questions do not: each answer is kept with its own.
        judge: What it goes by, and its model.
    """
    return _digest([identity(flow), data.digest, judge.identity])


def identity(flow: Flow) -> str:
    """The digest of what a flow does: nodes, inputs, outputs, budget, resources and prompts.

    A resource that a step takes counts by its specification, or by its default where the pipeline
    does not name it; one that was given open counts by its `id`, and without one it is like no
    other. Of an index it counts how it is filled, not where it lies.
    """
    inner = [node.flow for node in flow.walk() if isinstance(node, SubFlow)]
    resources = [_resources(one) for one in (flow, *inner)]
    return _digest([digest_of(flow), repr(flow.budget), resources, digest()])


def _resources(flow: Flow) -> dict[str, Any]:
    """What the steps take: name to specification."""
    base, specs = flow.resources.base, flow.resources.specs
    steps = [node.signature() for node in flow.walk() if isinstance(node, Operator)]
    taken = {port.name: port.type.default for step in steps for port in step.resources}
    found = {name: _described(specs.get(name, other), base) for name, other in taken.items()}
    index = specs.get("index", Index.default)
    if "index" in taken and not isinstance(index, Resource):
        embedder = _described(specs.get("embedder", Embedder.default), base)
        llm = _described(specs.get("llm", LLM.default), base)
        found["index"] = IndexSpec.of(index).fingerprint(embedder, llm)
    return found


def _described(spec: Any, base: Path) -> Any:
    match spec:
        case Resource():
            return [type(spec).__qualname__, getattr(spec, "id", repr(spec)), spec.version()]
        case Mapping():
            return {str(key): _described(value, base) for key, value in spec.items()}
        case list() | tuple():
            return [_described(value, base) for value in spec]
        case str() if spec.startswith((".", "~", "/")):
            return str((base / Path(spec).expanduser()).resolve())
        case _:
            return spec


def _digest(parts: list[Any]) -> str:
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
