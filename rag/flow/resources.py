"""What steps share and a flow opens once: an index, an embedder, a language model."""

from __future__ import annotations

import importlib
import os
import threading
import uuid
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from rag.errors import ConfigError, RagError
from rag.names import suggestion

R = TypeVar("R", bound="Resource")

GROUP = "rag.resources"
"""The entry points that say which class a resource of a well-known name is."""


class Spec(BaseModel):
    """Base of what a pipeline may say of a resource; a field that is unknown is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Use(BaseModel):
    """Another library's object in a resource's place: its class, and arguments for it.

    Args:
        use: `module.Class`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    use: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the class."""
        return dict(self.__pydantic_extra__ or {})


class Resource:
    """Base of everything that operators take by keyword and flows open lazily.

    An operator asks for one by a keyword-only parameter: `def run(self, query, *, index: Index)`.
    The parameter's name is the resource's name in the pipeline, unless the step binds another:
    `resources: {index: handbook}`.

    A subclass says what a pipeline may write of it (`Spec`), and opens it (`open`).
    """

    default: ClassVar[Any] = None
    """The specification used where a pipeline names none; None: it must be named."""
    Spec: ClassVar[type[BaseModel] | None] = None
    """The mapping that a pipeline may write; None: anything, handed to `open` as it is."""
    shorthand: ClassVar[str | None] = None
    """The field of `Spec` that a bare string fills."""
    foreign: ClassVar[str | None] = None
    """The base class of another library's objects that may stand in its place (`use:`)."""
    UseSpec: ClassVar[type[Use]] = Use
    """What a pipeline may say beside the arguments of such an object."""
    opener: ClassVar[str] = ""
    """`module:function` that opens it, for a class that several others implement."""

    @classmethod
    def load(cls, spec: Any, *, base: Path | None = None) -> Self:
        """Open the resource that `spec` describes.

        Args:
            spec: What a pipeline says: a string or a mapping, or an instance of `Spec`.
            base: The folder that relative paths start from; default: the current one.

        Raises:
            ConfigError: The specification is wrong.
        """
        found = parse(cls, spec)
        if cls.opener:
            module, _, function = cls.opener.partition(":")
            opened = getattr(importlib.import_module(module), function)(found, base or Path())
            return cast(Self, opened)
        return cls.open(found, base=base or Path())

    @classmethod
    def open(cls, spec: Any, *, base: Path) -> Self:
        """Open the resource.

        Args:
            spec: An instance of `Spec`, or a `Use`, or an object of the class `foreign`.
            base: The folder that relative paths start from.
        """
        raise NotImplementedError(f"{cls.__name__} cannot be opened from {spec!r}")

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """Why the resource cannot be opened now, found without opening it: no file, no model."""
        return None

    @classmethod
    def needs(cls, spec: Any, *, base: Path) -> Mapping[str, type[Resource]]:
        """What it takes itself of the flow that it is used in: name to kind of a resource.

        Called when the flow is built, before anything is opened.

        Raises:
            ConfigError: The specification is wrong in a way that `Spec` does not show.
        """
        return {}

    @classmethod
    def takes(cls, resource: Resource) -> bool:
        """Whether an open resource may be given where one of this class is wanted."""
        return isinstance(resource, cls)

    def version(self) -> str:
        """What a cached result depends on besides the specification: an index's state, say."""
        return ""

    def close(self) -> None:
        """Release what is held; called once, by whoever opened it."""


def parse(kind: type[Resource], spec: Any) -> Any:
    """The specification, validated: an instance of `kind.Spec`, a `Use`, or what `open` takes.

    Raises:
        ConfigError: A field is unknown, missing or of another type; the first such problem.
    """
    model = kind.Spec
    if model is None or isinstance(spec, model | Use | Resource):
        return spec
    if isinstance(spec, str | os.PathLike) and kind.shorthand is not None:
        spec = {kind.shorthand: os.fspath(spec)}
    if isinstance(spec, Mapping):
        if "use" in spec and kind.foreign is not None:
            if not isinstance(spec["use"], str):
                what = f"use is {spec['use']!r}, not the name of a class"
                raise ConfigError(what, fix=f"write a class of LangChain's ({kind.foreign})")
            model = kind.UseSpec
        try:
            return model.model_validate({str(key): value for key, value in spec.items()})
        except ValidationError as error:
            raise _problem(kind, model, error) from error
    if kind.foreign is not None and not isinstance(spec, str | int | float | list | None):
        return spec
    takes = f"a string, or {{{kind.shorthand}: ...}}" if kind.shorthand else "a mapping"
    raise ConfigError(f"{spec!r} describes no {kind.__name__}", fix=f"write {takes}")


def _problem(kind: type[Resource], model: type[BaseModel], error: ValidationError) -> ConfigError:
    # A misspelt field says more than the one that is missing therefore.
    detail = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in detail["loc"])
    fields = [field.alias or name for name, field in model.model_fields.items()]
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        fix = suggestion(place, fields)
        if kind.foreign is not None:
            fix += f"; or `use` with a class of LangChain's ({kind.foreign})"
        return ConfigError(f"{kind.__name__} has no field {place!r}", fix=fix)
    if detail["type"] == "missing":
        return ConfigError(f"{kind.__name__} needs the field {place!r}", fix=f"add {place}: ...")
    what = f"{place} is {detail.get('input')!r}: {detail['msg']}"
    named = issubclass(model, RootModel)  # by names of the user's own, not by fields
    return ConfigError(what, fix=f"mend {place}" if named else f"fields: {', '.join(fields)}")


@lru_cache(maxsize=1)
def _well_known() -> Mapping[str, Any]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def well_known() -> tuple[str, ...]:
    """The names of resources whose kind is known without a step that asks for them."""
    return tuple(_well_known())


def kind_of(name: str) -> type[Resource] | None:
    """The kind of a well-known resource; None: the name is not well known."""
    entry = _well_known().get(name)
    return None if entry is None else cast(type[Resource], entry.load())


_TOKENS: dict[int, str] = {}


def _token(resource: Resource) -> str:
    """What tells an open resource apart from all others, also from those of other processes."""
    if id(resource) not in _TOKENS:
        weakref.finalize(resource, _TOKENS.pop, id(resource), None)
    return _TOKENS.setdefault(id(resource), uuid.uuid4().hex)


@dataclass(eq=False)
class _Shared:
    """A resource that was opened, and how many use it."""

    name: str
    kind: type[Resource]
    spec: Any
    resource: Resource
    users: int = 1


class _Family:
    """What resources that differ in some names have opened together."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.opened: list[_Shared] = []


class Resources:
    """Named resources, opened at first use, each once, closed together.

    Args:
        specs: Name to specification (a string, a mapping) or to an open `Resource`; one that
            comes open stays its giver's to close.
        base: The folder that relative paths in specifications start from.
        outer: Where a name is looked up that is not in `specs`: an inner flow inherits.
    """

    def __init__(
        self,
        specs: Mapping[str, Any] | None = None,
        *,
        base: Path | None = None,
        outer: Resources | None = None,
    ) -> None:
        self.specs = dict(specs or {})
        self.base = base or Path()
        self._outer = outer
        self._open: dict[tuple[str, type[Resource]], Resource] = {}
        self._family = _Family()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self.specs == other.specs

    __hash__ = None  # type: ignore[assignment]

    def but(self, specs: Mapping[str, Any]) -> Resources:
        """These resources with others in place of those named.

        What is not named is opened once for both, and closed with the last that used it.
        """
        other = Resources({**self.specs, **specs}, base=self.base, outer=self._outer)
        other._family = self._family
        return other

    def within(self, outer: Resources) -> Resources:
        """These resources for a flow inside another: what they do not name is the outer's."""
        if not self.specs:
            return outer
        view = Resources.__new__(Resources)
        view.__dict__.update(self.__dict__)
        view._outer = outer
        return view

    def is_open(self, name: str, kind: type[Resource]) -> bool:
        """Whether `get` returns at once."""
        if self._outer is not None and name not in self.specs:
            return self._outer.is_open(name, kind)
        return (name, kind) in self._open or isinstance(self.specs.get(name), kind)

    def get(self, name: str, kind: type[R]) -> R:
        """The resource called `name`, opened if it was not.

        Raises:
            ConfigError: The pipeline does not name it, or it is of another kind.
        """
        if self._outer is not None and name not in self.specs:
            return self._outer.get(name, kind)
        found = self._open.get((name, kind))
        if found is not None:
            return cast(R, found)
        with self._family.lock:
            found = self._open.get((name, kind))
            if found is None:
                found = self._opened(name, kind)
                self._open[name, kind] = found
            return cast(R, found)

    def _opened(self, name: str, kind: type[R]) -> R:
        """The resource, taken from the family or loaded."""
        spec = self.specs.get(name, kind.default)
        for shared in self._family.opened:
            if shared.name == name and shared.spec is spec and isinstance(shared.resource, kind):
                shared.users += 1
                return shared.resource
        resource = self._load(name, kind)
        if resource is not spec:
            self._family.opened.append(_Shared(name, kind, spec, resource))
        return resource

    def _load(self, name: str, kind: type[R]) -> R:
        spec = self.specs.get(name, kind.default)
        if spec is None:
            raise ConfigError(
                f"no resource is called {name!r} ({kind.__name__})",
                where="resources",
                fix=f"name it in the pipeline: resources: {{{name}: ...}}",
            )
        if isinstance(spec, kind):
            return spec
        try:
            return kind.load(spec, base=self.base)
        except ConfigError as error:
            if error.where is None:
                raise ConfigError(error.what, where=f"resources.{name}", fix=error.fix) from error
            raise

    def identity(self, name: str) -> str:
        """The resource for cached results: its specification; an open one, this process."""
        if self._outer is not None and name not in self.specs:
            return self._outer.identity(name)
        spec = self.specs.get(name)
        if isinstance(spec, Resource):
            return _token(spec)
        return f"{self.base.resolve()} {spec!r}"

    def close(self) -> None:
        """Close what was opened here; what was given open is left alone."""
        with self._family.lock:
            mine = Counter(id(resource) for resource in self._open.values())
            self._open.clear()
            for shared in [one for one in self._family.opened if id(one.resource) in mine]:
                shared.users -= mine[id(shared.resource)]  # it may be open as several kinds
                if not shared.users:
                    self._family.opened.remove(shared)
                    shared.resource.close()


__all__ = [
    "Resource",
    "Resources",
    "Spec",
    "Use",
    "kind_of",
    "parse",
    "well_known",
]
