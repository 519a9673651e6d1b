"""LangChain runnables as steps of a flow, and a flow as a LangChain runnable."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, create_model

from rag.errors import ConfigError
from rag.flow.operator import Operator, operator
from rag.flow.run.events import Done, Event, Token


def as_step(
    runnable: Runnable[Any, Any],
    *,
    reads: str | tuple[str, ...] | Mapping[str, Any] | None = None,
    writes: str | None = None,
    gives: Any = None,
    name: str | None = None,
) -> Operator:
    """A step that calls a LangChain runnable.

    A retriever reads `query` and writes `documents`; a tool reads its arguments. For any other
    runnable the channels are named here. One channel is passed as it is, several as a mapping.

    Args:
        runnable: A retriever, a tool, a chat model, a chain.
        reads: The channels, with their types where they are known.
        writes: The channel that gets the result; for a tool its name where not given.
        gives: The result's type.
        name: The step's name in places.

    Raises:
        ConfigError: The runnable does not say which channels it reads and writes, and they are
            not given.
    """
    parameters: list[inspect.Parameter]
    label = name or getattr(runnable, "name", None) or type(runnable).__name__
    if isinstance(runnable, BaseRetriever) and reads is None:
        parameters = _parameters({"query": str})
        writes, gives = writes or "documents", gives or list[Document]
    elif isinstance(runnable, BaseTool) and reads is None:
        fields: dict[str, Any] = getattr(runnable.get_input_schema(), "model_fields", {})
        parameters = [
            _parameter(n, f.annotation, inspect.Parameter.empty if f.is_required() else f.default)
            for n, f in fields.items()
        ]
        writes = writes or runnable.name
    elif reads is None or writes is None:
        raise ConfigError(
            f"which channels {label} reads and writes is not known",
            fix='name them: as_step(runnable, reads="query", writes="answer")',
        )
    else:
        parameters = _parameters(_typed(reads))
    alone = len(parameters) == 1 and not isinstance(runnable, BaseTool)

    async def run(**channels: Any) -> Any:
        value = next(iter(channels.values())) if alone else channels
        return await runnable.ainvoke(value)

    returns = Any if gives is None else gives
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": returns}
    run.__name__ = label
    run.__doc__ = f"Call the LangChain runnable {label}."
    return operator(writes=writes or label)(run)(name=name)


def _typed(reads: str | tuple[str, ...] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(reads, Mapping):
        return dict(reads)
    return dict.fromkeys((reads,) if isinstance(reads, str) else reads, Any)


def _parameters(reads: Mapping[str, Any]) -> list[inspect.Parameter]:
    return [_parameter(name, kind, inspect.Parameter.empty) for name, kind in reads.items()]


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind
    )


class RunnableFlow(Protocol):
    """What a runnable needs of a flow."""

    name: str | None
    description: str | None
    inputs: Mapping[str, Any]
    defaults: Mapping[str, Any]
    output_types: Mapping[str, Any]

    def invoke(self, **inputs: Any) -> dict[str, Any]:
        """Run."""

    async def ainvoke(self, **inputs: Any) -> dict[str, Any]:
        """Run."""

    def stream(self, **inputs: Any) -> Iterator[Event]:
        """Run, giving events."""

    def astream(self, **inputs: Any) -> AsyncIterator[Event]:
        """Run, giving events."""


class FlowRunnable(Runnable[dict[str, Any], dict[str, Any]]):
    """A flow as a LangChain `Runnable`, from a mapping of inputs to a mapping of outputs.

    Streaming yields the tokens of steps that write an output, as `{output: piece}`, then the
    outputs that were not streamed. Callbacks and tags of the config see the flow as one chain.
    """

    def __init__(self, flow: RunnableFlow) -> None:
        self.flow = flow
        self.name = flow.name or "flow"

    @classmethod
    def of(cls, flow: Any) -> FlowRunnable:
        """The runnable of a flow."""
        return cls(flow)

    @property
    def InputType(self) -> Any:  # noqa: N802 - LangChain's name
        """A mapping of inputs."""
        return dict[str, Any]

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """A mapping of outputs."""
        return dict[str, Any]

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """The flow's inputs as a pydantic model."""
        fields: dict[str, Any] = {
            name: (kind, self.flow.defaults.get(name, ...))
            for name, kind in self.flow.inputs.items()
        }
        return create_model(f"{self.name}_input", **fields)

    def get_output_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """The flow's outputs as a pydantic model."""
        fields: dict[str, Any] = {name: (k, ...) for name, k in self.flow.output_types.items()}
        return create_model(f"{self.name}_output", **fields)

    def invoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Run the flow."""
        return self._call_with_config(lambda given: self.flow.invoke(**given), input, config)

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Run the flow."""

        async def call(given: dict[str, Any]) -> dict[str, Any]:
            return await self.flow.ainvoke(**given)

        return await self._acall_with_config(call, input, config)

    def stream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[dict[str, Any]]:
        """Run the flow; pieces of outputs as they come."""
        full = ensure_config(config)
        manager = get_callback_manager_for_config(full)
        run = manager.on_chain_start(None, input, name=self.get_name())
        pieces = _Pieces(self.flow)
        try:
            for event in self.flow.stream(**input):
                yield from pieces.of(event)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(pieces.result)

    async def astream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Run the flow; pieces of outputs as they come."""
        full = ensure_config(config)
        manager = get_async_callback_manager_for_config(full)
        run = await manager.on_chain_start(None, input, name=self.get_name())
        tapped = self._tapped(input, run)
        pieces = _Pieces(self.flow)
        try:
            async for event in tapped:
                for piece in pieces.of(event):
                    yield piece
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(pieces.result)

    async def _tapped(self, input: dict[str, Any], run: Any) -> AsyncIterator[Event]:
        async for event in self.flow.astream(**input):
            yield event

    def as_tool(self, args_schema: Any = None, **kwargs: Any) -> BaseTool:
        """The flow as a LangChain tool; its output is the only one, or a mapping of all."""
        only = next(iter(self.flow.output_types)) if len(self.flow.output_types) == 1 else None

        def result(outputs: dict[str, Any]) -> Any:
            return outputs if only is None else outputs[only]

        def call(**inputs: Any) -> Any:
            return result(self.flow.invoke(**inputs))

        async def acall(**inputs: Any) -> Any:
            return result(await self.flow.ainvoke(**inputs))

        name = kwargs.pop("name", None) or self.name
        about = kwargs.pop("description", None) or self.flow.description or f"Run {self.name}."
        return StructuredTool.from_function(
            call,
            acall,
            name=name,
            description=about,
            args_schema=args_schema or self.get_input_schema(),
            infer_schema=False,
        )


class _Pieces:
    """What a stream yields: tokens of steps that write an output, then the rest."""

    def __init__(self, flow: Any) -> None:
        outputs = set(flow.output_types)
        self._writes: dict[str, str] = {}
        for place, step in getattr(flow, "steps", {}).items():
            for port in step.signature().writes:
                name = step.outputs.get(port.name, port.name)
                if len(place) == 1 and name in outputs and port.type in (str, Any):
                    self._writes[str(place)] = name
        # A later step that writes the same output replaces it: only the last one's tokens count.
        last = {name: place for place, name in self._writes.items()}
        self._writes = {place: name for name, place in last.items()}
        self._streamed: dict[str, str] = {}
        self.result: dict[str, Any] = {}

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        """The pieces that an event gives."""
        if isinstance(event, Token) and (name := self._writes.get(event.node)):
            self._streamed[name] = self._streamed.get(name, "") + event.text
            yield {name: event.text}
        elif isinstance(event, Done):
            self.result = event.result
            rest = {n: v for n, v in event.result.items() if self._streamed.get(n) != v}
            if rest:
                yield rest
