"""LangChain runnables as steps of a flow, and a flow as a LangChain runnable."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from operator import itemgetter
from typing import Any, Protocol

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    AddableDict,
    Runnable,
    RunnableConfig,
    RunnableLambda,
)
from langchain_core.tools import BaseTool, convert_runnable_to_tool
from pydantic import BaseModel, ConfigDict, create_model

from rag.errors import ConfigError, InputError
from rag.flow.constructs.guard import Guard
from rag.flow.constructs.route import Route
from rag.flow.constructs.subflow import SubFlow
from rag.flow.node import Node, Sequence, place_of, root_of, walk
from rag.flow.operator import Operator, operator
from rag.flow.place import Place
from rag.flow.run.events import Custom, Done, Event, Token


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

    def walk(self) -> Iterator[tuple[Place, Node]]:
        """Its nodes with their places, from the top."""

    def invoke(self, /, **inputs: Any) -> dict[str, Any]:
        """Run."""

    async def ainvoke(self, /, **inputs: Any) -> dict[str, Any]:
        """Run."""

    def stream(self, /, **inputs: Any) -> Iterator[Event]:
        """Run, giving events."""

    def astream(self, /, **inputs: Any) -> AsyncIterator[Event]:
        """Run, giving events."""


class Outputs(AddableDict):
    """A part of a flow's outputs as they are streamed; the sum of all parts is the result.

    Texts are added as pieces. Of the last part (`final`) each value replaces what was streamed
    under its name, since a later step may have rewritten it.
    """

    final = False

    def __add__(self, other: AddableDict) -> Outputs:
        return Outputs(
            {**self, **other} if getattr(other, "final", False) else super().__add__(other)
        )


class FlowRunnable(Runnable[dict[str, Any], dict[str, Any]]):
    """A flow as a LangChain `Runnable`, from a mapping of inputs to a mapping of outputs.

    Streaming yields `Outputs`: pieces of texts while steps write them, then everything else.
    Callbacks, tags and metadata of the config see the flow as one chain, and the LangChain
    runnables among its steps below it. What operators emit are LangChain's custom events.
    Keyword arguments of a call, or of `bind`, are further inputs.
    """

    def __init__(self, flow: RunnableFlow) -> None:
        self.flow = flow
        self.name = flow.name or "flow"

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
        defaults = self.flow.defaults
        return self._model(
            "Input", {n: (k, defaults.get(n, ...)) for n, k in self.flow.inputs.items()}
        )

    def get_output_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """The flow's outputs as a pydantic model."""
        return self._model("Output", {n: (k, ...) for n, k in self.flow.output_types.items()})

    def _model(self, suffix: str, fields: dict[str, Any]) -> type[BaseModel]:
        config = ConfigDict(arbitrary_types_allowed=True)
        return create_model(self.get_name(suffix), __config__=config, **fields)

    def invoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Run the flow."""

        def call(given: dict[str, Any]) -> dict[str, Any]:
            return self.flow.invoke(**_inputs(given, kwargs))

        return self._call_with_config(call, input, config)

    async def ainvoke(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Run the flow."""

        async def call(given: dict[str, Any]) -> dict[str, Any]:
            return await self.flow.ainvoke(**_inputs(given, kwargs))

        return await self._acall_with_config(call, input, config)

    def stream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[dict[str, Any]]:
        """Run the flow; parts of its outputs as they come."""

        def parts(
            given: Iterator[Any], run_manager: Any, config: RunnableConfig
        ) -> Iterator[dict[str, Any]]:
            streamed = _Streamed(self.flow)
            for event in self.flow.stream(**_inputs(next(given), kwargs)):
                if isinstance(event, Custom):
                    dispatch_custom_event(event.name, event.data, config=config)
                if part := streamed.part(event):
                    yield part

        yield from self._transform_stream_with_config(iter((input,)), parts, config)

    async def astream(
        self, input: dict[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Run the flow; parts of its outputs as they come. Closing the iterator cancels the run."""

        async def once() -> AsyncIterator[dict[str, Any]]:
            yield input

        async def parts(
            given: AsyncIterator[Any], run_manager: Any, config: RunnableConfig
        ) -> AsyncIterator[dict[str, Any]]:
            streamed = _Streamed(self.flow)
            events: Any = self.flow.astream(**_inputs(await anext(given), kwargs))
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Custom):
                        await adispatch_custom_event(event.name, event.data, config=config)
                    if part := streamed.part(event):
                        yield part

        whole: Any = self._atransform_stream_with_config(once(), parts, config)
        async with aclosing(whole):
            async for part in whole:
                yield part

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """The flow as a LangChain tool; it gives the flow's only output, or all as a mapping."""
        outputs = list(self.flow.output_types)
        chain: Runnable[Any, Any] = self
        if len(outputs) == 1:
            chain = self | RunnableLambda(itemgetter(*outputs))
        return convert_runnable_to_tool(
            chain,
            args_schema,
            name=name or self.get_name(),
            description=description or self.flow.description or f"Run {self.get_name()}.",
            arg_types=arg_types,
        )


def _inputs(given: Any, further: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(
            f"the input of a flow is a mapping of channels, not {type(given).__name__}",
            fix='give for example {"query": "..."}',
        )
    return {**given, **further}


class _Streamed:
    """What of a run's outputs was streamed, and what an event adds to it."""

    def __init__(self, flow: RunnableFlow) -> None:
        top, node = next(flow.walk())
        self._writers = {
            str(place): name for name in flow.output_types for place in _writers(node, top, name)
        }
        self._texts: dict[str, str] = {}

    def part(self, event: Event) -> Outputs | None:
        if isinstance(event, Token) and (name := self._writers.get(str(event.place))):
            self._texts[name] = self._texts.get(name, "") + event.text
            return Outputs({name: event.text})
        if isinstance(event, Done):
            rest = Outputs({n: v for n, v in event.result.items() if self._texts.get(n) != v})
            rest.final = True
            return rest
        return None


def _writers(node: Node, place: Place, channel: str) -> Iterator[Place]:
    """The steps whose tokens are a channel's text as it comes.

    Those in branches, maps and loops are left out: what they write may never become the channel.
    Of several in a sequence, those before the last one that calls a language model are.
    """
    children = [(c, place_of(node, place, e, c)) for e, c in node.children().items() if e != ".by"]
    match node:
        case Operator():
            names = {node.outputs.get(p.name, p.name): p.name for p in node.signature().writes}
            if channel in names:
                yield place
                if (inner := node.inner()) is not None:
                    yield from _writers(inner, root_of(inner, place.call()), names[channel])
        case Sequence():
            for child, where in reversed(children):
                found = list(_writers(child, where, channel))
                yield from found
                if found and any(getattr(n, "span_kind", "") == "LLM" for _, n in walk(child)):
                    return
        case Route() | Guard():
            for child, where in children:
                yield from _writers(child, where, channel)
        case SubFlow() if channel in node.flow.output_types and channel not in node.outputs:
            for child, where in children:
                yield from _writers(child, where, channel)
