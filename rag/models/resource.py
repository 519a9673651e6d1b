"""What all models have in common as resources of a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from rag.errors import ConfigError, ModelError, RagError
from rag.flow.resources import Resource, Spec, Use, parse
from rag.models.opening.find import find_model
from rag.models.opening.foreign import foreign_class


class ModelSpec(Spec):
    """A model by name."""

    model: str = Field(description="a local folder, an installed package or a hub id")


class ModelResource(Resource):
    """Base of the models."""

    Spec: ClassVar[type[BaseModel] | None] = ModelSpec
    shorthand = "model"

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """Why there is no such folder, file, package or class on this machine.

        No model is opened and no network is used: a hub id counts as there.

        Args:
            spec: As for `load`.
            base: The folder that relative paths start from.
        """
        try:
            parsed = parse(cls, spec)
            if isinstance(parsed, Use):
                foreign_class(parsed.use, str(cls.foreign))
            elif isinstance(parsed, ModelSpec):
                find_model(parsed.model, base)
        except (ConfigError, ModelError) as error:
            return error
        return None
