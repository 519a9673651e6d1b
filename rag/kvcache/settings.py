"""How a prompt's states are composed: the settings of `reuse:` in a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from rag.errors import ConfigError
from rag.kvcache.composers.base import Composer
from rag.kvcache.composers.registry import composer, composers
from rag.names import suggestion

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

DEFAULT = "auto"


class ReuseSettings(BaseModel):
    """A composer by name, and its settings: the fields of its class.

    Args:
        mode: The composer, such as `craft`.
        numbers: Its settings.

    Raises:
        ConfigError: The mode is unknown, or one of its settings is unknown or wrong.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    mode: str = Field(default=DEFAULT, description="the composer")
    sparse: PositiveInt | None = Field(
        default=None,
        description="tokens of the context that the answer attends to, chosen by what the question "
        "attends to; default: all",
    )
    _composer: Composer = PrivateAttr()

    def __init__(self, mode: str = DEFAULT, **numbers: Any) -> None:
        super().__init__(mode=mode, **numbers)

    @model_validator(mode="after")
    def _made(self) -> Self:
        kind = composer(self.mode)
        numbers = self.__pydantic_extra__ or {}
        try:
            self._composer = kind.model_validate(numbers)
        except ValidationError as error:
            raise _problem(kind, error) from error
        return self

    @property
    def composer(self) -> Composer:
        """The composer."""
        return self._composer

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """All composers' settings in one object, each with the modes that have it."""
        found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for mode, kind in composers().items():
            for name, field in kind.model_json_schema()["properties"].items():
                found.setdefault(name, []).append((mode, field))
        properties = {
            "mode": {"enum": list(composers()), "default": DEFAULT, "description": "the composer"},
            "sparse": {
                "type": "integer",
                "minimum": 1,
                "description": cls.model_fields["sparse"].description,
            },
        }
        return {
            "type": "object",
            "description": "how the states of a prompt's chunks are composed",
            "properties": {**properties, **{name: _merged(each) for name, each in found.items()}},
            "additionalProperties": False,
        }


def _merged(fields: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """One field's schema of several modes, as whose description their modes are named."""
    by_text: dict[str, list[str]] = {}
    for mode, field in fields:
        by_text.setdefault(field.get("description", ""), []).append(mode)
    text = "; ".join(f"{', '.join(modes)}: {text}" for text, modes in by_text.items())
    return {**fields[0][1], "description": text}


def _problem(kind: type[Composer], error: ValidationError) -> ConfigError:
    detail = error.errors()[0]
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        what = f"the mode {kind.mode!r} has no setting {name!r}"
        return ConfigError(what, where="reuse", fix=suggestion(name, kind.model_fields))
    what = f"{name} is {detail['input']!r}: {detail['msg']}"
    return ConfigError(what, where=f"reuse.{name}", fix=f"mend it, or leave out {name!r}")
