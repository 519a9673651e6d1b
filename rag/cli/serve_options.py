"""The options of `rag serve`, made from the class of its settings."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ARGUMENT = "pipelines"
"""The setting that is the command's argument."""
SHORT = {"param": "-p"}


class ServeCommand(TyperCommand):
    """A command with an option for each field of `ServeSettings`.

    They are made when the command is used, not when it is registered, so that no other command
    waits for pydantic. All values are texts: the class says what they may be. Those that were
    given are in `ctx.obj`, by the names of the fields.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Typer's own, and those of the settings."""
        return [*super().get_params(ctx), *_options()]

    def invoke(self, ctx: Any) -> Any:
        """Call the function, with the given settings in `ctx.obj`."""
        given = {one.name: ctx.params.pop(one.name) for one in _options()}
        ctx.obj = {name: value for name, value in given.items() if value not in (None, (), [])}
        return super().invoke(ctx)


def _options() -> list[Any]:
    """An option for each setting, made by typer as if a function had them as parameters."""
    from rag.extras import require

    require("pydantic_settings", "serve")
    from rag.serve.settings.origin import FIELDS
    from rag.serve.settings.settings import Settings

    def settings() -> None:
        """Has the parameters."""

    parameters = [
        _parameter(name, field, "Limits" if name in Settings.model_fields else "Server")
        for name, field in FIELDS.items()
        if name != ARGUMENT
    ]
    settings.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    settings.__annotations__ = {one.name: one.annotation for one in parameters}
    made = typer.Typer(add_completion=False)
    made.command()(settings)
    return list(typer.main.get_command(made).params)


def _parameter(name: str, field: FieldInfo, panel: str) -> Parameter:
    from rag.serve.settings.origin import option

    flag: str = option(name)
    kind: Any = str | None
    if field.annotation is bool:
        flag, kind = f"{flag}/--no-{flag.removeprefix('--')}", bool | None
    repeated = isinstance(field.default, tuple)
    about = typer.Option(
        flag,
        *([SHORT[name]] if name in SHORT else []),
        help=_help(name, field),
        metavar=None if field.annotation is bool else _metavar(field),
        show_default=False,
        rich_help_panel=panel,
    )
    annotation = Annotated[list[str] | None if repeated else kind, about]  # type: ignore[valid-type]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(name: str, field: FieldInfo) -> str:
    from rag.serve.settings.origin import shown

    said = field.description or ""
    default = shown(name, field.default)
    return (
        f"{said} Default: {default}." if default and not isinstance(field.default, tuple) else said
    )


def _metavar(field: FieldInfo) -> str:
    kinds = {"ByteSize": "BYTES", "int": "INTEGER", "float": "FLOAT", "Path": "PATH"}
    shown = str(field.annotation)
    return next((meta for name, meta in kinds.items() if name in shown), "TEXT")
