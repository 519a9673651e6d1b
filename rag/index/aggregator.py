"""How the chunks of a document count for its score, as a resource of a pipeline."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from pydantic import Field

from rag.errors import ConfigError, RagError
from rag.flow.resources import Resource, Spec, parse
from rag.index.attention import SETTINGS, LearnedAttention
from rag.index.types import Aggregate, NamedAggregate


class AggregatorSpec(Spec):
    """A way by name, or one that was learned."""

    by: str = Field(description="mean, max or attention; or a folder of `rag train aggregate`")


class Aggregator(Resource):
    """How the scores of a document's chunks become its score.

    Attributes:
        aggregate: As `Index.dense_sources` takes it.

    Args:
        aggregate: See above.
    """

    default: ClassVar[Any] = "attention"
    Spec = AggregatorSpec
    shorthand = "by"

    def __init__(self, aggregate: Aggregate) -> None:
        self.aggregate = aggregate

    @classmethod
    def open(cls, spec: AggregatorSpec, *, base: Path) -> Self:
        """Open a way by its name, or a folder with one that was learned.

        Raises:
            ConfigError: It is neither.
        """
        for name in get_args(NamedAggregate):
            if spec.by == name:
                return cls(name)
        return cls(LearnedAttention.read((base / spec.by).expanduser()))

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """Why there is no such folder; see `Resource.absent`."""
        try:
            found = parse(cls, spec)
        except ConfigError as error:
            return error
        if not isinstance(found, AggregatorSpec) or found.by in get_args(NamedAggregate):
            return None
        folder = (base / found.by).expanduser()
        if (folder / SETTINGS).is_file():
            return None
        return ConfigError(
            f"{found.by!r} is neither {', '.join(get_args(NamedAggregate))} nor a trained folder",
            where=str(folder), fix="train one with `rag train aggregate`, or give a name",
        )  # fmt: skip

    def version(self) -> str:
        """Changes with what was learned."""
        if not isinstance(self.aggregate, LearnedAttention):
            return self.aggregate
        return hashlib.sha256(self.aggregate.weights.tobytes()).hexdigest()[:16]
