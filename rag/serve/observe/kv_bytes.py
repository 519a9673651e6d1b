"""What the stored states of the served models take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rag.models import LLM
from rag.serve.pipelines.pipeline import Pipeline

if TYPE_CHECKING:
    from rag.kvcache.store.base import Tier

LOCAL_TIERS = frozenset({"memory", "disk"})
"""Whose size is known without reading them through."""


def kv_bytes(pipelines: Iterable[Pipeline]) -> dict[str, float]:
    """Bytes of stored states in memory and on this machine's disk, of the models that are open."""
    tiers: dict[int, Tier] = {}
    for pipeline in pipelines:
        resources = pipeline.flow.resources
        for _, name, kind in pipeline.flow.needs:
            if issubclass(kind, LLM) and resources.is_open(name, kind):
                tiers.update(_tiers(resources.get(name, kind)))
    sizes: dict[str, float] = dict.fromkeys(sorted({tier.name for tier in tiers.values()}), 0)
    for tier in tiers.values():
        sizes[tier.name] += tier.size()[1]
    return sizes


def _tiers(llm: LLM) -> dict[int, Tier]:
    from rag.models.local.model import LocalLLM

    store = llm.store if isinstance(llm, LocalLLM) else None
    return {id(tier): tier for tier in store.tiers if tier.name in LOCAL_TIERS} if store else {}
