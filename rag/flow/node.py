"""What every part of a flow can do: be put after another, and be run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.flow.constructs import Sequence
    from rag.flow.flow import Flow
    from rag.flow.run.events import Event


class Node:
    """A step or a construct; `a >> b` runs `b` after `a`.

    A node runs by itself over the channels it is given by name: `Rerank(k=3).invoke(query=...,
    documents=...)`. Whoever keeps one for many runs names it and its inputs in a `Flow`.
    """

    def __rshift__(self, other: Node) -> Sequence:
        from rag.flow.constructs import Sequence

        return Sequence(self, other)

    def _flow(self, inputs: Mapping[str, Any]) -> Flow:
        """This node as a flow whose inputs are the channels given; built once per set of names."""
        from rag.flow.flow import Flow

        # In the instance's dictionary, which neither dataclasses nor pydantic compare.
        flows: dict[frozenset[str], Flow] = self.__dict__.setdefault("_flows", {})
        names = frozenset(inputs)
        if names not in flows:
            flows[names] = Flow(self, inputs=dict.fromkeys(inputs, Any))
        return flows[names]

    def invoke(self, **inputs: Any) -> dict[str, Any]:
        """Run over the input channels and return every output channel.

        Raises:
            BuildError: The parts do not fit together.
            InputError: The values do not fit the inputs.
            StepError: A step failed; the error names it.
        """
        return self._flow(inputs).invoke(**inputs)

    async def ainvoke(self, **inputs: Any) -> dict[str, Any]:
        """`invoke` for asynchronous callers."""
        return await self._flow(inputs).ainvoke(**inputs)

    def stream(self, **inputs: Any) -> Iterator[Event]:
        """Run and yield the events as they come; the last is `Done` with the result."""
        return self._flow(inputs).stream(**inputs)

    def astream(self, **inputs: Any) -> AsyncIterator[Event]:
        """`stream` for asynchronous callers; closing it cancels the run."""
        return self._flow(inputs).astream(**inputs)

    def batch(
        self, many: Iterable[Mapping[str, Any]], *, concurrency: int = 8
    ) -> list[dict[str, Any]]:
        """Run once per mapping of inputs, at most `concurrency` at a time, order kept."""
        many = list(many)
        return self._flow(many[0] if many else {}).batch(many, concurrency=concurrency)

    async def abatch(
        self, many: Iterable[Mapping[str, Any]], *, concurrency: int = 8
    ) -> list[dict[str, Any]]:
        """`batch` for asynchronous callers."""
        many = list(many)
        return await self._flow(many[0] if many else {}).abatch(many, concurrency=concurrency)

    def to_yaml(self) -> str:
        """This node as a pipeline file; `load_flow` of it gives an equal flow."""
        from rag.flow.flow import Flow

        return Flow(self).to_yaml()
