"""Which pipeline a command works with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.values import pairs

if TYPE_CHECKING:
    from rag.flow import Flow

FILE = "rag.yaml"


def completed(incomplete: str) -> list[str]:
    """Pipelines whose names begin so, for the Tab key: files of this folder, then ready-made."""
    from rag.pipelines import names

    files = sorted(str(one) for one in Path().glob("*.y*ml"))
    return [name for name in (*files, *names()) if name.startswith(incomplete)]


Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        help=f"Pipeline file, or name of a ready-made pipeline. Default: ./{FILE}, else `hybrid`.",
        autocompletion=completed,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        help="NAME=VALUE for ${NAME} in the pipeline file; repeatable.",
        show_default=False,
    ),
]
AllowImport = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        help="Package that the pipeline file may import operators from; repeatable.",
        show_default=False,
    ),
]


class _Asked(dict[str, str]):
    """Values of parameters that know which names a pipeline has asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)


def load(
    config: str | None,
    params: list[str] | None = None,
    allow: list[str] | None = None,
    *,
    several: bool = False,
    preset: Mapping[str, str] | None = None,
) -> Flow:
    """The flow of a pipeline file or of a ready-made pipeline.

    Args:
        config: A file or a name; None: the default. Relative paths in a ready-made pipeline start
            from the current folder.
        params: `NAME=VALUE` for parameters of the file.
        allow: Packages that it may import operators from.
        several: Whether the parameters are for several pipelines, of which this is one.
        preset: Values of parameters that `params` does not name, if the file has them.

    Raises:
        ConfigError: There is no such file or name, the file is no valid pipeline, or it has no
            such parameter.
    """
    from rag.errors import ConfigError
    from rag.flow.registry import Registry
    from rag.flow.yaml.load import load_flow
    from rag.names import suggestion

    given = pairs(params or [], "--param")
    values = _Asked({**(preset or {}), **given})
    registry = Registry(allow_import=tuple(allow or ()))
    file, base = pipeline_file(config)
    flow = load_flow(file, params=values, registry=registry, base=base)
    for name in [] if several else given.keys() - values.names:
        what = f"the pipeline {default(config)} has no parameter {name!r}"
        fix = suggestion(name, values.names, label="its parameters")
        raise ConfigError(what, where="--param", fix=fix)
    return flow


def pipeline_file(config: str | None) -> tuple[Path, Path | None]:
    """A pipeline's file, and the folder that its relative paths start from; None: the file's.

    Args:
        config: As of `load`.

    Raises:
        ConfigError: There is no ready-made pipeline of that name.
    """
    from rag.errors import ConfigError
    from rag.names import suggestion
    from rag.pipelines import names, path, spaces

    config = default(config)
    known = [*names(), *spaces()]
    if config in known and not Path(config).exists():
        return path(config), Path()
    if Path(config).exists() or Path(config).name != config or Path(config).suffix:
        return Path(config), None
    raise ConfigError(
        f"{config!r} is neither a file nor a ready-made pipeline",
        fix=suggestion(config, known, label="ready-made"),
    )


def default(config: str | None) -> str:
    """The pipeline to use if none is named."""
    return config or (FILE if Path(FILE).exists() else "hybrid")
