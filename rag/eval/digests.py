"""Digests of what an answer depends on: if the digest differs, the answer may differ."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from rag.flow import Flow, Resource, SubFlow
from rag.flow.memory.fingerprint import fingerprint
from rag.index import Index, IndexWriter
from rag.index.binding import IndexBinding, described
from rag.prompts.digest import digest

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset


def answers_digest(flow: Flow, data: Dataset, judge: str) -> str:
    """The digest of everything that the answers to a data set's questions depend on.

    Args:
        flow: The pipeline as loaded, before its resources are opened.
        data: Its corpus counts; without one, the last commit of the indexes that the flow names.
            Its questions do not: each cached answer names its own.
        judge: The judge's digest.
    """
    corpus = data.digest if data.documents else _commits(flow)
    return _digest([flow_digest(flow), corpus, judge])


def flow_digest(flow: Flow) -> str:
    """The digest of what a flow does: nodes, inputs, outputs, budget, resources and prompts.

    A resource that a step takes counts by its specification, or by its default if the pipeline
    does not name it. A resource that was passed in open counts by its `id`; one without an `id`
    is equal to no other. An index counts by how it is filled, not by its path.
    """
    resources = [_resources(one) for one in _with_inner(flow)]
    return _digest([fingerprint(flow), repr(flow.budget), resources, digest()])


def _with_inner(flow: Flow) -> list[Flow]:
    return [flow, *(node.flow for _, node in flow.walk() if isinstance(node, SubFlow))]


def _commits(flow: Flow) -> list[Any]:
    """Folder, last commit and chunks of each index that the steps search."""
    found = []
    for one in _with_inner(flow):
        for name in sorted({name for _, name, kind in one.needs if issubclass(kind, Index)}):
            index = one.resources.get(name, Index)
            found.append([index.address.key, index.version(), index.stats().chunks])
    return found


def _resources(flow: Flow) -> dict[str, Any]:
    """The resources that the steps take: name to specification."""
    base, specs = flow.resources.base, flow.resources.specs
    found: dict[str, Any] = {}
    for _, name, kind in flow.needs:
        spec = specs.get(name, kind.default)
        if issubclass(kind, Index | IndexWriter) and not isinstance(spec, Resource):
            found[name] = IndexBinding(flow.resources, index=name).fingerprint
        else:
            found[name] = described(spec, base)
    return found


def _digest(parts: list[Any]) -> str:
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
