"""Operators: the bricks. A class with a `run` method, or a decorated function."""

from __future__ import annotations

import collections.abc
import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, ParamSpec, Self, TypeVar, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    create_model,
    field_validator,
)

from rag.errors import ConfigError
from rag.flow.node import Node, as_node
from rag.flow.policies import Budget, Cache, Retry
from rag.flow.resources import Resource
from rag.flow.run.context import RunContext
from rag.flow.run.run import Run
from rag.flow.run.streaming import collector
from rag.flow.types import show

P = ParamSpec("P")
T = TypeVar("T")


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


class Operator(Node, BaseModel):
    """A brick: reads named channels, writes named channels.

    Subclasses declare their configuration as pydantic fields, `writes`, and a method `run`:
    its positional parameters are the channels read (with a default: optional), its
    keyword-only ones the resources it shares (annotated with a `Resource`) or the run's
    `RunContext`; what it returns goes to the channel named by `writes` (a tuple of them takes
    a tuple). `run` may be `async`, or a generator: texts that it yields are streamed as tokens
    and joined, other values are collected in a list. A plain `run` gets a thread where it would
    hold up an event loop or its siblings; one that takes microseconds sets `light = True` and
    is called directly.

    The fields below say how an operator stands at its place of use; they have the same names
    in pipeline files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    writes: ClassVar[str | tuple[str, ...]] = ()
    light: ClassVar[bool] = False
    span_kind: ClassVar[str] = "CHAIN"
    """OpenInference's kind of span: RETRIEVER, RERANKER, LLM, ..."""
    use: ClassVar[str] = ""
    """The name in pipeline files; made from the class's name where it is not given."""

    name: str | None = Field(default=None, description="the step's own name in places and events")
    inputs: dict[str, str] = Field(
        default_factory=dict, description="parameter: the channel it reads instead"
    )
    outputs: dict[str, str] = Field(
        default_factory=dict, description="written channel: the name it gets instead"
    )
    resources: dict[str, str] = Field(
        default_factory=dict, description="parameter: the resource of the pipeline it takes instead"
    )

    timeout: PositiveFloat | None = Field(default=None, description="seconds for each attempt")
    retry: Retry | None = Field(default=None, description="further attempts after a failure")
    fallback: Any = Field(
        default=None, description="the step that runs in its place when it failed for good"
    )
    cache: Cache | None = Field(
        default=None, description="take the result of equal inputs from the flow's step cache"
    )
    concurrency: PositiveInt | None = Field(
        default=None, description="executions at the same time at most, over all runs"
    )
    budget: Budget | None = Field(default=None, description="what one execution may use")

    run: ClassVar[Callable[..., Any]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "use" not in cls.__dict__:
            cls.use = snake_case(cls.__name__)

    @field_validator("cache", mode="before")
    @classmethod
    def _cache(cls, given: Any) -> Any:
        return {} if given is True else given or None if isinstance(given, bool) else given

    @field_validator("fallback", mode="before")
    @classmethod
    def _fallback(cls, given: Any) -> Any:
        try:
            return None if given is None else as_node(given)
        except ConfigError as error:
            raise ValueError(error.what) from error

    @field_validator("outputs", "inputs", "resources", mode="before")
    @classmethod
    def _renames(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            raise ValueError('write a mapping: {"name": "channel"}')
        return given

    @property
    def label(self) -> str:
        """The step's name in places: its own where it has one."""
        return self.name or self.use

    def children(self) -> dict[str, Node]:
        """The fallback, if there is one."""
        return {} if self.fallback is None else {".fallback": self.fallback}

    def with_children(self, children: Mapping[str, Node]) -> Self:
        """The step with another fallback."""
        if not children:
            return self
        return self.model_copy(update={"fallback": children[".fallback"]})

    @classmethod
    def signature(cls) -> Signature:
        """What `run` reads, writes and takes.

        Raises:
            ConfigError: `run` is missing, or an annotation is.
        """
        if "_read_signature" not in cls.__dict__:
            cls._read_signature = _signature(cls)
        return cls._read_signature

    _read_signature: ClassVar[Signature]


PLACEMENT = frozenset(Operator.model_fields)
"""The fields that every operator has: where it stands and its policies, not what it does."""


class Brick(Generic[P, T]):
    """What `@operator` makes of a function, as type checkers see it: a class of operators.

    Called with configuration it gives a step. `run` is the function with its parameters.
    """

    if typing.TYPE_CHECKING:
        use: str
        __name__: str
        __qualname__: str
        __module__: str

        def __call__(self, **config: Any) -> Operator:
            """A step with this configuration."""

        @property
        def run(self) -> Callable[P, T]:
            """The function itself."""

        def signature(self) -> Signature:
            """What the function reads, writes and takes."""


def operator(
    *, writes: str | tuple[str, ...], light: bool = False, use: str | None = None
) -> Callable[[Callable[P, T]], Brick[P, T]]:
    """Make an operator of a function.

    Positional parameters are channels; keyword-only ones are resources, the run's context,
    or, with any other annotation, configuration. The result is a class: `f()` is a step.

    Args:
        writes: The channel, or channels, that get what the function returns.
        light: The function takes microseconds: it is called directly, never in a thread.
        use: The name in pipeline files; the function's name if not given.

    Raises:
        ConfigError: A parameter has the name of a field that every step has.
    """

    def decorate(function: Callable[P, T]) -> Brick[P, T]:
        name = getattr(function, "__name__", "operator")
        hints = _hints(function, name)
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(function).parameters.values():
            if _is_config(parameter, hints):
                if parameter.name in PLACEMENT:
                    raise ConfigError(
                        f"{name}: every step has a field {parameter.name!r} already",
                        fix="give the parameter another name",
                    )
                default = ... if parameter.default is parameter.empty else parameter.default
                fields[parameter.name] = (hints.get(parameter.name, Any), default)
        made = create_model(name, __base__=Operator, __module__=function.__module__, **fields)
        made.__doc__ = function.__doc__
        made.__qualname__ = getattr(function, "__qualname__", name)
        made.writes, made.light, made.use = writes, light, use or name
        made.run = staticmethod(function)
        return cast("Brick[P, T]", made)

    return decorate


def snake_case(name: str) -> str:
    """`MultiQuery` to `multi_query`, `BM25` to `bm25`, `RRF` to `rrf`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return spaced.lower()


def _is_config(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    hint = _without_none(hints.get(parameter.name, Any))
    return (
        parameter.kind is parameter.KEYWORD_ONLY
        and not _is_class(hint, Resource)
        and not _is_class(hint, RunContext)
    )


def _signature(cls: type[Operator]) -> Signature:
    run = getattr(cls, "run", None)
    if run is None:
        raise ConfigError(f"operator {cls.__name__} has no method run")
    hints = _hints(run, f"{cls.__name__}.run")
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


def _written(cls: type[Operator], returned: Any) -> tuple[Port, ...]:
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


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"the annotations of {name} cannot be resolved: {error}",
            fix="import the annotated types at module level, not under TYPE_CHECKING",
        ) from error


def _without_none(hint: Any) -> Any:
    args = [arg for arg in get_args(hint) if arg is not type(None)]
    return args[0] if type(None) in get_args(hint) and len(args) == 1 else hint


def _is_class(hint: Any, base: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, base)
