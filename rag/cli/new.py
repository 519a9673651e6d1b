"""`rag new`: a package to start from."""

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

app = typer.Typer(help="Create a package of your own.", no_args_is_help=True)

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

# The class may have any name. So the templates import only modules, whose names are in lower
# case: no class can shadow them.
_MODULE = '''\
"""The operator `$name`."""

from __future__ import annotations

import pydantic

import rag


class $kind(rag.Operator):
    """Keeps the documents that are long enough. Say here what yours does, and when to use it.

    Reads `documents`; writes `documents`.
    Example: `{use: $name, min_words: 3}`
    """

    use = "$name"
    writes = "documents"

    min_words: int = pydantic.Field(default=1, ge=0, description="words that a document must have")

    def run(self, documents: list[rag.Document]) -> list[rag.Document]:
        """Keep them, preserving order."""
        return [one for one in documents if len(one.page_content.split()) >= self.min_words]
'''

_TEST = '''\
"""The operator `$name`: what holds for every operator, and what is its own."""

import rag
import rag_$name
from rag import testing

DOCUMENTS = [rag.Document(page_content="one two three"), rag.Document(page_content="one")]


class TestConformance(testing.OperatorSuite):
    """See `rag.testing.OperatorSuite` for what is tested."""

    operator = rag_$name.$kind(min_words=2)
    inputs = {"documents": DOCUMENTS}
    expected = {"documents": DOCUMENTS[:1]}


def test_it_runs_in_a_flow() -> None:
    flow = rag.Flow(rag_$name.$kind(), inputs={"documents": list[rag.Document]})
    record = flow.run(documents=DOCUMENTS)
    testing.assert_ran(record, "$name", only=True)
    assert record.result()["documents"] == DOCUMENTS
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
      - {use: $name, min_words: 3}
      - {use: generate}
"""


def templates(name: str) -> dict[str, str]:
    """Path in the package to text, for an operator called `name`."""
    names = {"name": name, "kind": _kind(name), "dashed": name.replace("_", "-")}
    files = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        f"src/rag_{name}/__init__.py": _MODULE,
        f"src/rag_{name}/py.typed": "",
        f"tests/test_{name}.py": _TEST,
    }
    return {path: Template(text).substitute(names) for path, text in files.items()}


def _kind(name: str) -> str:
    """The operator's class."""
    return "".join(part.capitalize() for part in name.split("_"))


@app.callback()
def new() -> None:
    """Create a package of your own."""


@app.command("operator")
def operator(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The operator's name in pipeline files, such as newest_first."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="The folder to create. Default: ./rag-NAME.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a package with an operator of your own: source, entry point, test, README."""
    from rag.errors import ConfigError
    from rag.paths import write_errors

    _check(name)
    target = folder or Path(f"rag-{name.replace('_', '-')}")
    files = templates(name)
    with write_errors(target, "--dir"):
        if target.exists():
            raise ConfigError("already exists", where=str(target), fix="give another --dir")
        _write(files, target)
    if as_json:
        from rag.cli.output import print_json

        print_json({"written": [str(target / path) for path in files]})
        return
    for path in files:
        typer.echo(f"wrote {target / path}")
    typer.echo(f'next: cd {target} && pip install -e ".[dev]" && pytest')


def _write(files: dict[str, str], target: Path) -> None:
    """Create the folder with all its files at once: a partial one is never visible."""
    target.parent.mkdir(parents=True, exist_ok=True)
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


def _check(name: str) -> None:
    """Refuse a name that is not valid in pipeline files and in Python, or that is taken."""
    from ruamel.yaml import YAML

    from rag.errors import ConfigError
    from rag.flow.registry import installed

    if not _NAME.fullmatch(name) or len(name) > 50:
        plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        plain = plain.strip("_0123456789")[:50].rstrip("_")
        fix = "lower-case letters, digits and single underscores, a letter first, 50 at most"
        if _NAME.fullmatch(plain):
            fix += f": {plain}"
        raise ConfigError(f"{name!r} cannot name an operator", where="NAME", fix=fix)
    fix = f"another name: {name}_documents"
    if keyword.iskeyword(name) or keyword.iskeyword(_kind(name)):
        raise ConfigError(f"{name!r} is a keyword of Python", where="NAME", fix=fix)
    if YAML(typ="safe", pure=True).load(name) != name:
        raise ConfigError(f"{name!r} is not a string in YAML", where="NAME", fix=fix)
    if name in installed():
        raise ConfigError(
            f"there already is an operator {name!r}",
            where="NAME",
            fix=f"another name; `rag operators {name}` describes the existing one",
        )
