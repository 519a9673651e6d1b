"""A tool: what a model may call by name, with arguments that fit a schema."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from langchain_core.documents import Document
from pydantic import BaseModel, ValidationError

from rag.errors import InputError, RagError
from rag.flow import RunContext
from rag.models import ToolDescription
from rag.prompts.templates import PromptTemplate
from rag.tools.spec import ToolSettings

Found = str | list[Document]
"""What a call gives: a text, or the documents that it found."""
Texts = Mapping[str, PromptTemplate]
"""The prompt set of the model that calls."""


class ToolError(RagError):
    """A tool did not do what it was called for; its model reads the reason."""


class Tool(ABC):
    """A tool.

    Args:
        name: By which it is called.
        schema: Of its arguments: a pydantic model, or a JSON schema of an object.
        settings: What a pipeline says of it.
    """

    text: ClassVar[str] = ""
    """The prompt that describes it where the pipeline does not."""

    def __init__(
        self, name: str, schema: type[BaseModel] | Mapping[str, Any], settings: ToolSettings
    ) -> None:
        self.name = name
        self.schema = schema
        self.settings = settings

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of its arguments."""
        if isinstance(self.schema, Mapping):
            return dict(self.schema)
        return self.schema.model_json_schema()

    def description(self, texts: Texts) -> str:
        """What it is good for.

        Args:
            texts: The prompt set of the model that is told.
        """
        return self.settings.description or texts[self.text].text

    def described(self, texts: Texts) -> ToolDescription:
        """What a model is told of it."""
        return ToolDescription(self.name, self.description(texts), self.parameters)

    def checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as `call` takes them.

        Raises:
            InputError: They do not fit the schema.
        """
        if isinstance(self.schema, Mapping):
            return _checked_json(self.schema, arguments)
        try:
            value = self.schema.model_validate(dict(arguments))
        except ValidationError as error:
            details = error.errors(include_url=False)[:3]
            reasons = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in details]
            raise InputError("; ".join(reasons)) from error
        return {name: getattr(value, name) for name in type(value).model_fields}

    @abstractmethod
    async def call(self, arguments: Mapping[str, Any], ctx: RunContext) -> Found:
        """What the tool gives.

        Args:
            arguments: As `checked` gives them.
            ctx: The run in which it is called.

        Raises:
            Exception: It failed; the model gets the reason.
        """


def _checked_json(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        from jsonschema import ValidationError as SchemaError
        from jsonschema import validate
    except ImportError:  # the tool itself refuses what does not fit
        return dict(arguments)
    try:
        validate(dict(arguments), dict(schema))
    except SchemaError as error:
        place = ".".join(map(str, error.path))
        raise InputError(f"{place}: {error.message}" if place else error.message) from error
    return dict(arguments)
