"""`rag new`: a package of one's own to start from."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from rag.cli.config import Json

app = typer.Typer(help="Start something of your own.", no_args_is_help=True)

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "rag-$dashed"
version = "0.1.0"
description = "The operator $name for modular-rag."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["modular-rag"]

[project.optional-dependencies]
dev = ["pytest"]

# The name on the left is what pipeline files say: {use: $name}.
[project.entry-points."rag.operators"]
$name = "rag_$name:$kind"

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
rag_$name = ["py.typed"]

[tool.pytest.ini_options]
pythonpath = ["src"]
"""

_MODULE = '''\
"""The operator `$name`."""

from __future__ import annotations

from langchain_core.documents import Document
from pydantic import Field

from rag import Operator


class $kind(Operator):
    """Keeps the documents that are long enough. Write here what yours does, and when to use it.

    Reads `documents`; writes `documents`.
    Example: `{use: $name, least: 3}`
    """

    use = "$name"
    writes = "documents"

    least: int = Field(default=1, ge=0, description="words that a document must have")

    def run(self, documents: list[Document]) -> list[Document]:
        """Keep them in their order."""
        return [one for one in documents if len(one.page_content.split()) >= self.least]
'''

_TEST = '''\
"""The operator `$name`, by itself and in a flow."""

from langchain_core.documents import Document

from rag import Flow
from rag_$name import $kind

DOCUMENTS = [Document(page_content="one two three"), Document(page_content="one")]


def test_it_keeps_what_is_long_enough() -> None:
    flow = Flow($kind(least=2), inputs={"documents": list[Document]})
    assert flow.invoke(documents=DOCUMENTS)["documents"] == DOCUMENTS[:1]


def test_nothing_stays_nothing() -> None:
    flow = Flow($kind(), inputs={"documents": list[Document]})
    assert flow.invoke(documents=[])["documents"] == []
'''

_README = """\
# rag-$dashed

The operator `$name` for pipelines of `modular-rag`.

    pip install -e ".[dev]"
    pytest
    rag operators $name     # found by its entry point

In a pipeline file:

    steps:
      - {use: bm25, k: 20}
      - {use: $name, least: 3}
      - {use: generate}
"""


def templates(name: str) -> dict[str, str]:
    """Path in the package to text, for an operator called `name`."""
    kind = "".join(part.capitalize() for part in name.split("_"))
    names = {"name": name, "kind": kind, "dashed": name.replace("_", "-")}
    files = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        f"src/rag_{name}/__init__.py": _MODULE,
        f"src/rag_{name}/py.typed": "",
        f"tests/test_{name}.py": _TEST,
    }
    return {path: Template(text).substitute(names) for path, text in files.items()}


@app.callback()
def new() -> None:
    """Start something of your own."""


@app.command("operator")
def operator(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What pipeline files will say: newest_first.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="The folder to make. Default: ./rag-NAME.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a package with an operator of your own: source, entry point, test, README."""
    from rag.errors import ConfigError

    _check(name)
    target = folder or Path(f"rag-{name.replace('_', '-')}")
    if target.exists():
        raise ConfigError("is there already", where=str(target), fix="give another --dir")
    target.parent.mkdir(parents=True, exist_ok=True)
    files = templates(name)
    # Written beside and moved as a whole: a folder that is half written is never seen.
    made = Path(tempfile.mkdtemp(prefix=".rag-new-", dir=target.parent))
    try:
        made.chmod(0o755)
        for path, text in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    if as_json:
        from rag.cli.output import print_json

        print_json({"written": [str(target / path) for path in files]})
        return
    for path in files:
        typer.echo(f"wrote {target / path}")
    typer.echo(f'next: cd {target} && pip install -e ".[dev]" && pytest')


def _check(name: str) -> None:
    """Refuse a name that pipeline files, Python or another operator could not bear."""
    from rag.errors import ConfigError
    from rag.flow.registry import installed

    if not _NAME.fullmatch(name) or len(name) > 50:
        plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        plain = plain.strip("_0123456789")[:50].rstrip("_")
        fix = "small letters, digits and single underscores, a letter first, 50 at most"
        if _NAME.fullmatch(plain):
            fix += f": {plain}"
        raise ConfigError(f"{name!r} cannot name an operator", where="NAME", fix=fix)
    if keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} is a word of Python", where="NAME", fix=f"another name: {name}_documents"
        )
    if name in installed():
        raise ConfigError(
            f"there is an operator {name!r} already",
            where="NAME",
            fix=f"another name; `rag operators {name}` describes the one there is",
        )
