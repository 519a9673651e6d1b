"""What steps share and a flow opens once: an index, an embedder, a language model."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

from rag.errors import ConfigError

R = TypeVar("R", bound="Resource")


class Resource:
    """Base of everything that operators take by keyword and flows open lazily.

    An operator asks for one by a keyword-only parameter: `def run(self, query, *, index: Index)`.
    The parameter's name is the resource's name in the pipeline file.
    """

    default: ClassVar[Any] = None
    """The specification used where a pipeline names none; None: it must be named."""

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Self:
        """Open the resource that `spec` describes.

        Args:
            spec: What the pipeline file says: a string or a mapping.
            base: The folder that relative paths start from.
        """
        raise NotImplementedError(f"{cls.__name__} cannot be opened from {spec!r}")

    def version(self) -> str:
        """What a kept result depends on besides the specification: an index's state, say."""
        return ""

    def close(self) -> None:
        """Give back what is held; called once, by whoever opened it."""


class Resources:
    """Named resources, opened at first use, each once, closed together.

    Args:
        specs: Name to specification (a string, a mapping) or to an open `Resource`; one that
            comes open stays its giver's to close.
        base: The folder that relative paths in specifications start from.
    """

    def __init__(self, specs: Mapping[str, Any] | None = None, *, base: Path | None = None) -> None:
        self.specs = dict(specs or {})
        self.base = base or Path()
        self._open: dict[tuple[str, type[Resource]], Resource] = {}
        self._lock = threading.RLock()
        self._token = uuid.uuid4().hex

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resources) and self.specs == other.specs

    __hash__ = None  # type: ignore[assignment]

    def is_open(self, name: str, kind: type[Resource]) -> bool:
        """Whether `get` returns at once."""
        return (name, kind) in self._open or isinstance(self.specs.get(name), kind)

    def get(self, name: str, kind: type[R]) -> R:
        """The resource called `name`, opened if it was not.

        Raises:
            ConfigError: The pipeline does not name it, or it is of another kind.
        """
        found = self._open.get((name, kind))
        if found is not None:
            return cast(R, found)
        with self._lock:
            found = self._open.get((name, kind))
            if found is None:
                found = self._load(name, kind)
                self._open[name, kind] = found
            return cast(R, found)

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
        return kind.load(spec, base=self.base)

    def identity(self, name: str) -> str:
        """The resource for kept results: its specification, or for an open one this process."""
        spec = self.specs.get(name)
        if isinstance(spec, Resource):
            return f"{self._token}.{id(spec)}"
        return f"{self.base.resolve()} {spec!r}"

    def close(self) -> None:
        """Close what was opened here; what was given open is left alone."""
        with self._lock:
            for (name, _), resource in self._open.items():
                if self.specs.get(name) is not resource:
                    resource.close()
            self._open.clear()
