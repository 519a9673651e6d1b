"""A flow as LangChain's `BaseRetriever`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, PositiveInt, field_validator

from rag.errors import ConfigError
from rag.flow import Flow, load_flow
from rag.models.embedder import Embedder

HYBRID = """
name: hybrid
steps:
  - parallel:
      sparse: {use: bm25, k: 100}
      dense: {use: dense, k: 100}
    join: {use: rrf}
"""


class FlowRetriever(BaseRetriever):
    """A flow from `query` to `documents`.

    Metadata carry the `score` that the flow's last step gave. A flow with an input `k` gets the
    number of documents; of any other the first `k` are returned.
    """

    flow: Any = Field(description="the Flow")
    k: PositiveInt | None = Field(
        default=None, description="documents at most; none: what the flow gives"
    )

    @field_validator("flow")
    @classmethod
    def _check(cls, flow: Any) -> Flow:
        if not isinstance(flow, Flow):
            raise ConfigError(f"{flow!r} is no flow", fix="give a Flow, or load_flow(path)")
        if not {"query"} <= flow.inputs.keys() or "documents" not in flow.output_types:
            raise ConfigError(
                f"a retriever's flow goes from query to documents, and {flow.name or 'this one'!r}"
                f" from {', '.join(flow.inputs)} to {', '.join(flow.output_types)}",
                fix='name its inputs and outputs: inputs={"query": str}, outputs=["documents"]',
            )
        return flow

    @classmethod
    def hybrid(cls, index: Any, embedder: Any = Embedder.default, k: int = 4) -> Self:
        """The best of BM25 and dense retrieval, fused by reciprocal rank.

        Args:
            index: As `resources.index` in a pipeline: a folder, or an open `Index`.
            embedder: As `resources.embedder`.
            k: Documents at most.
        """
        spec = str(index) if isinstance(index, Path) else index
        flow = load_flow(HYBRID).with_resources(index=spec, embedder=embedder)
        return cls(flow=flow, k=k)

    def close(self) -> None:
        """Close what the flow opened."""
        self.flow.close()

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = k or self.k
        config: Any = {"callbacks": run_manager.get_child()}
        outputs = self.flow.as_runnable().invoke(self._inputs(query, k), config)
        found: list[Document] = outputs["documents"]
        return found[:k]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = k or self.k
        config: Any = {"callbacks": run_manager.get_child()}
        outputs = await self.flow.as_runnable().ainvoke(self._inputs(query, k), config)
        found: list[Document] = outputs["documents"]
        return found[:k]

    def _inputs(self, query: str, k: int | None) -> dict[str, Any]:
        return {"query": query} | ({"k": k} if k and "k" in self.flow.inputs else {})
