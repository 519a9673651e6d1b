"""Operators: the bricks. A class with a `run` method, or a decorated function."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, ParamSpec, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    create_model,
    field_validator,
)

from rag.errors import ConfigError
from rag.flow.fields import wrong
from rag.flow.node import Node, Sequence, as_node
from rag.flow.policies import Budget, Cache, Retry
from rag.flow.signature import Signature, hints_of, is_config, signature_of

P = ParamSpec("P")
T = TypeVar("T")


if typing.TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


@typing.dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class OperatorClass(ModelMetaclass):
    """The class of operators' classes: one that is put where a step belongs is told apart."""

    def __rshift__(self, other: Any) -> Sequence:
        return Sequence(self, other)  # type: ignore[arg-type]


class Operator(Node, BaseModel, metaclass=OperatorClass):
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

    if not typing.TYPE_CHECKING:  # type checkers make it of the fields

        def __init__(self, /, *positional: Any, **given: Any) -> None:
            if positional:
                known = [name for name in type(self).model_fields if name not in PLACEMENT]
                what = f"{self.use} takes its configuration by name"
                raise ConfigError(what, fix=f"its fields: {', '.join(known) or 'none'}")
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise wrong(type(self), PLACEMENT, error) from error

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

    def inner(self) -> Node | None:
        """The node of the flow that `run` runs once by `ctx.run`, and whose outputs it passes on.

        None: there is none. Its tokens are streamed as the step's own.
        """
        return None

    @classmethod
    def signature(cls) -> Signature:
        """What `run` reads, writes and takes.

        Raises:
            ConfigError: `run` is missing, or an annotation is.
        """
        if "_read_signature" not in cls.__dict__:
            cls._read_signature = signature_of(cls)
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
        hints = hints_of(function, name)
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(function).parameters.values():
            if is_config(parameter, hints):
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
