"""`rag init`: a folder with a starter pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.config import FILE, Json

README = """\
# A pipeline

`rag.yaml` is the pipeline: which index and models it uses, and its steps.

    rag ingest PATH...     # fill the index
    rag ask "QUESTION"     # ask
    rag show               # draw the steps (Mermaid)
    rag operators          # list the operators that a step can use
    rag check rag.yaml     # after an edit: is it valid?
"""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder; created if it is missing.")
    ],
    pipeline: Annotated[
        str, typer.Option("--pipeline", help="The ready-made pipeline to start from.")
    ] = "hybrid",
    as_json: Json = False,
) -> None:
    """Write a starter pipeline into a folder; existing files are left alone."""
    from rag.errors import ConfigError
    from rag.files import write_atomically
    from rag.paths import write_errors
    from rag.pipelines import path

    if folder.exists() and not folder.is_dir():
        raise ConfigError("is a file, not a folder", where=str(folder), fix="give another DIR")
    text = path(pipeline).read_text(encoding="utf-8")
    written = []
    with write_errors(folder, "DIR"):
        for name, content in ((FILE, text), ("README.md", README)):
            target = folder / name
            if not target.exists():
                write_atomically(target, content)
                written.append(str(target))
    if as_json:
        from rag.cli.output import print_json

        print_json({"written": written})
        return
    for name in written:
        typer.echo(f"wrote {name}")
    if not written:
        typer.echo(f"{folder} has a pipeline already; nothing was changed")
    typer.echo(f"next: cd {folder} && rag ingest PATH... && rag ask QUESTION")
