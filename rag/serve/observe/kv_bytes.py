"""What the stored states of the served models take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from rag.models import LLM
from rag.serve.pipelines.pipeline import Pipeline

if TYPE_CHECKING:
    from rag.kvcache.store.base import Tier


def kv_bytes(pipelines: Iterable[Pipeline], where: Literal["memory", "disk"]) -> int:
    """Bytes of stored states of the models that are open.

    Args:
        pipelines: Have the models.
        where: In this process's memory, or on this machine's disk. (What is elsewhere would have to
            be read through.)
    """
    tiers: dict[int, Tier] = {}
    for pipeline in pipelines:
        resources = pipeline.flow.resources
        for _, name, kind in pipeline.flow.needs:
            if issubclass(kind, LLM) and resources.is_open(name, kind):
                tiers |= {id(tier): tier for tier in _tiers(resources.get(name, kind))}
    return sum(tier.size()[1] for tier in tiers.values() if tier.name == where)


def _tiers(llm: LLM) -> Iterable[Tier]:
    from rag.models.local.model import LocalLLM

    store = llm.store if isinstance(llm, LocalLLM) else None
    return store.tiers if store else ()
