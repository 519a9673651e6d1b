"""Questions that a user may ask next, suggested by the pipeline's language model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from langchain_core.documents import Document

from rag.flow import Flow
from rag.flow.run.events import Done
from rag.models import LLM
from rag.operators import SuggestQuestions
from rag.serve.identity.identity import Identity
from rag.serve.identity.limits import UserLimits
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.pipeline import Pipeline
from rag.serve.runs.queue import RunQueue

_INPUTS = {"query": str, "answer": str, "documents": list[Document]}


class Suggestions:
    """Suggests questions. Each time is a question of the user's for the queue and the limits.

    Args:
        queue: Says when the model may be asked.
        flows: Opens it.
        limits: Of what a user may use.
        number: Questions at most; 0: the model is not asked.
        timeout: Seconds that it may take.
    """

    def __init__(
        self, queue: RunQueue, flows: Flows, limits: UserLimits, number: int, timeout: float
    ) -> None:
        self._queue, self._flows, self._limits = queue, flows, limits
        self._timeout = timeout
        self._number = number

    async def after(
        self, who: Identity, pipeline: Pipeline, message: str, about: Mapping[str, Any]
    ) -> list[str]:
        """Questions that an answer's own sources answer.

        Args:
            who: Asked.
            pipeline: Answered.
            message: The answer.
            about: What a conversation stores of it.

        Raises:
            Problem: As `RunQueue.admit` and `UserLimits.request`.
        """
        sources: Sequence[Mapping[str, Any]] = about.get("sources", ())
        if not self._number or not sources or not message:
            return []
        inputs = {
            "query": about.get("query", ""),
            "answer": message,
            "documents": [
                Document(one["text"], metadata={"path": one["place"]}) for one in sources
            ],
        }
        await self._limits.request(who)
        with closing(self._queue.admit(who.user)) as ticket:
            async with asyncio.timeout(self._timeout), ticket:
                with closing(await self._flows.lease(pipeline, who)) as lease:
                    specs = lease.flow.resources.specs.values()
                    llm = next((one for one in specs if isinstance(one, LLM)), None)
                    return [] if llm is None else await self._asked(who, llm, inputs)

    async def _asked(self, who: Identity, llm: LLM, inputs: dict[str, Any]) -> list[str]:
        flow = Flow(SuggestQuestions(n=self._number), inputs=_INPUTS, resources={"llm": llm})
        found: list[str] = []
        async for event in flow.astream(**inputs):
            if isinstance(event, Done):
                found = event.result["suggestions"]
                await self._limits.used(who, event.tokens)
        return found
