"""Which pipeline a command works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rag.flow import Flow

FILE = "rag.yaml"

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        help=f"Pipeline file, or name of a ready-made one. Default: ./{FILE}, else `hybrid`.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="NAME=VALUE for ${NAME} in the pipeline file."),
]
AllowImport = Annotated[
    list[str] | None,
    typer.Option("--allow-import", help="Package that the pipeline file may import from."),
]


def load(
    config: str | None, params: list[str] | None = None, allow: list[str] | None = None
) -> Flow:
    """The flow that `config` names; paths in a ready-made one start from the current folder."""
    from rag.flow.registry import Registry
    from rag.flow.yaml import load_flow
    from rag.pipelines import names, path

    values = pairs(params or [], "--param")
    registry = Registry(allow_import=tuple(allow or ()))
    config = default(config)
    if config in names() and not Path(config).exists():
        return load_flow(path(config), params=values, registry=registry, base=Path())
    return load_flow(Path(config), params=values, registry=registry)


def default(config: str | None) -> str:
    """The pipeline that is meant where none is named."""
    return config or (FILE if Path(FILE).exists() else "hybrid")


def pairs(items: list[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` items as a mapping."""
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{item!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found
