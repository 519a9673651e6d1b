"""LangChain runnables, retrievers and tools as steps of a flow."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.flow.operator import Operator, operator

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable


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
        name: The step's name in paths.

    Raises:
        ConfigError: The channels cannot be told from the runnable and are not given.
    """
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.tools import BaseTool

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
