"""What an operator's `run` method takes and gives, read off its annotations."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from rag.errors import ConfigError
from rag.flow.resources import Resource
from rag.flow.run.context import RunContext
from rag.flow.run.run import Run
from rag.flow.run.streaming import collector
from rag.flow.types import show


@dataclass(frozen=True, slots=True)
class Port:
    """A channel that an operator reads or writes, or a resource that it takes."""

    name: str
    type: Any
    required: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    """What an operator's `run` method takes and gives, read off its annotations.

    Args:
        reads: The channels it reads.
        writes: The channels it writes.
        resources: The resources it takes.
        config: Of a decorated function: its configuration.
        context: The parameter that gets the `RunContext`.
        is_async: Whether `run` is a coroutine function or an asynchronous generator.
        collect: Of a generator: what makes one value of what it yields.
    """

    reads: tuple[Port, ...] = ()
    writes: tuple[Port, ...] = ()
    resources: tuple[Port, ...] = ()
    config: tuple[str, ...] = ()
    context: str | None = None
    is_async: bool = False
    collect: Callable[[Any, dict[str, Any], RunContext, Run], Awaitable[Any]] | None = None


def is_config(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    """Whether a decorated function's parameter is configuration."""
    hint = _without_none(hints.get(parameter.name, Any))
    return (
        parameter.kind is parameter.KEYWORD_ONLY
        and not _is_class(hint, Resource)
        and not _is_class(hint, RunContext)
    )


def signature_of(cls: Any) -> Signature:
    """The signature of an operator's class.

    Raises:
        ConfigError: `run` is missing, or an annotation is.
    """
    run = getattr(cls, "run", None)
    if run is None:
        raise ConfigError(f"operator {cls.__name__} has no method run")
    hints = hints_of(run, f"{cls.__name__}.run")
    reads: list[Port] = []
    resources: list[Port] = []
    config: list[str] = []
    context = None
    decorated = isinstance(inspect.getattr_static(cls, "run"), staticmethod)
    parameters = list(inspect.signature(run).parameters.values())
    if not decorated:
        parameters = parameters[1:]
    for parameter in parameters:
        hint = hints.get(parameter.name, Any)
        required = parameter.default is parameter.empty
        if parameter.kind is not parameter.KEYWORD_ONLY:
            reads.append(Port(parameter.name, hint, required))
        elif _is_class(_without_none(hint), Resource):
            resources.append(Port(parameter.name, _without_none(hint), required))
        elif _is_class(hint, RunContext):
            context = parameter.name
        elif decorated:
            config.append(parameter.name)
        else:
            raise ConfigError(
                f"{cls.__name__}.run takes {parameter.name!r} by keyword: {show(hint)} is neither "
                "a Resource nor the RunContext",
                fix="make it a field of the class, or a positional parameter to read a channel",
            )
    returned = hints.get("return", Any)
    collect = None
    if inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run):
        item = (get_args(returned) or (Any,))[0]
        returned = str if item is str else list[item]  # type: ignore[valid-type]
        collect = collector(joined=item is str, is_async=inspect.isasyncgenfunction(run))
    elif get_origin(returned) in (collections.abc.Iterator, collections.abc.Generator):
        raise ConfigError(
            f"{cls.__name__}.run is annotated to return a generator, and is none",
            fix="yield in it, or return a list",
        )
    return Signature(
        tuple(reads),
        _written(cls, returned),
        tuple(resources),
        tuple(config),
        context,
        inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run),
        collect,
    )


def _written(cls: Any, returned: Any) -> tuple[Port, ...]:
    if isinstance(cls.writes, str):
        return (Port(cls.writes, returned),)
    if returned is Any:
        return tuple(Port(name, Any) for name in cls.writes)
    types = get_args(returned) if get_origin(returned) is tuple else ()
    if len(types) != len(cls.writes):
        raise ConfigError(
            f"operator {cls.__name__} writes {len(cls.writes)} channels, its run is not "
            "annotated to return a tuple of as many",
            fix=f"annotate it: -> tuple[{', '.join('...' for _ in cls.writes)}]",
        )
    return tuple(Port(name, kind) for name, kind in zip(cls.writes, types, strict=True))


def hints_of(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The annotations of a function.

    Raises:
        ConfigError: They cannot be resolved.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"the annotations of {name} cannot be resolved: {error}",
            fix="import the annotated types at module level, not under TYPE_CHECKING",
        ) from error
    except TypeError as error:
        raise ConfigError(
            f"{name} is made of {type(function).__name__}, which has no annotations",
            fix="call it in a function of its own: def find(query: str) -> list[Document]: ...",
        ) from error


def _without_none(hint: Any) -> Any:
    args = [arg for arg in get_args(hint) if arg is not type(None)]
    return args[0] if type(None) in get_args(hint) and len(args) == 1 else hint


def _is_class(hint: Any, base: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, base)
