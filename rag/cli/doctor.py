"""`rag doctor`: what is installed and what a pipeline needs; what is missing and how to mend it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.config import AllowImport, Config, Json, Param, load

if TYPE_CHECKING:
    from rag.errors import RagError
    from rag.flow import Flow

DISTRIBUTION = "modular-rag"
DEVELOPERS = frozenset({"dev"})
"""Extras that no user needs."""
_NAME = re.compile(r"[\w.-]+")
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        about: What it is: `model all-minilm-l6-v2`, `extra serve`.
        ok: Whether it is there; None: it is not, and nothing here needs it.
        what: What was found.
        fix: How to mend it.
        code: The exit code that it asks for.
    """

    about: str
    ok: bool | None
    what: str
    fix: str | None = None
    code: int = 0


def doctor(
    config: Config = None,
    params: Param = None,
    allow: AllowImport = None,
    opens: Annotated[
        bool, typer.Option("--open", help="Open what the pipeline names too, which takes longer.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is installed, whether the pipeline can run, and how to mend what is missing.

    The exit code is 0, or that of the first thing that the pipeline needs and that is not there.
    """
    found = [
        *_versions(),
        *_models(),
        *_extras(),
        *_folders(),
        *_pipeline(config, params, allow, opens),
    ]
    if as_json:
        from rag.cli.output import print_json

        print_json([asdict(one) for one in found])
    else:
        _print(found)
    code = next((one.code for one in found if one.ok is False), 0)
    if code:
        raise typer.Exit(code)


def _print(found: list[Finding]) -> None:
    for one in found:
        mark = {True: "ok", False: "MISSING", None: "-"}[one.ok]
        typer.echo(f"{mark:8} {one.about}: {one.what}")
        if one.fix and one.ok is not True:
            typer.echo(f"{'':8} fix: {one.fix}")


def _versions() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    from rag import __version__

    yield Finding(DISTRIBUTION, True, __version__)
    yield Finding("python", True, f"{platform.python_version()} on {platform.platform()}")
    for name in ("torch", "transformers", "sentence-transformers", "langchain-core"):
        try:
            yield Finding(name, True, version(name))
        except PackageNotFoundError:
            fix = f"pip install {name}"
            yield Finding(name, False, "not installed", fix, code=2)


def _models() -> Iterator[Finding]:
    from pathlib import Path

    from rag.errors import ModelError
    from rag.models.opening.find import PACKAGED, find_model

    for name in PACKAGED:
        try:
            files = find_model(name, Path())
        except ModelError as error:
            yield Finding(f"model {name}", None, "not installed", error.fix)
        else:
            yield Finding(f"model {name}", True, str(files.gguf or files.location))


def _extras() -> Iterator[Finding]:
    """Each extra, and which of its packages are not installed."""
    from importlib.metadata import PackageNotFoundError, requires, version

    lacks: dict[str, list[str]] = {}
    try:
        required = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a folder that was never installed
        return
    for line in required:
        extra, name = _EXTRA.search(line), _NAME.match(line)
        if extra is None or name is None or extra[1] in DEVELOPERS:
            continue
        lacks.setdefault(extra[1], [])
        try:
            version(name[0])
        except PackageNotFoundError:
            lacks[extra[1]].append(name[0])
    for named, missing in sorted(lacks.items()):
        what = f"{', '.join(missing)} not installed" if missing else "installed"
        fix = f'pip install "{DISTRIBUTION}[{named}]"'
        yield Finding(f"extra {named}", None if missing else True, what, fix)


def _folders() -> Iterator[Finding]:
    from rag.errors import ConfigError
    from rag.paths import cache_folder, writable_folder

    folder = cache_folder()
    try:
        writable_folder(folder, "RAG_CACHE_DIR")
    except ConfigError as error:
        yield Finding("cache folder", False, f"{error.where} {error.what}", error.fix, code=2)
    else:
        yield Finding("cache folder", True, str(folder))


def _pipeline(
    config: str | None, params: list[str] | None, allow: list[str] | None, opens: bool
) -> Iterator[Finding]:
    from rag.cli.config import default
    from rag.errors import RagError

    name = f"pipeline {default(config)}"
    try:
        flow = load(config, params, allow)
    except RagError as error:
        yield _wrong(name, error)
        return
    with flow:
        yield Finding(name, True, "valid")
        absent = flow.absent()
        for missing in absent:
            yield _wrong(f"{name}, {missing.where}", missing)
        yield from _indexes(flow)
        if opens and not absent:
            from rag.cli.opening import open_all

            for one in open_all(flow, shown=False):
                what = "opened" if one.error is None else str(one.as_dict()["what"])
                fix = one.as_dict()["fix"]
                about = f"{name}, {one.name} ({one.kind})"
                yield Finding(about, one.error is None, what, fix, one.code if one.error else 0)


def _indexes(flow: Flow) -> Iterator[Finding]:
    """The size of each index that the flow reads and that is there."""
    from rag.errors import RagError
    from rag.index import Index, IndexBinding

    for name in sorted({name for _, name, kind in flow.needs if issubclass(kind, Index)}):
        try:
            binding = IndexBinding(flow.resources, index=name)
            if not binding.address.exists():
                continue  # said before
            index = binding.open()
        except RagError as error:
            yield _wrong(f"index {name}", error)
            continue
        try:
            stats = index.stats()
        finally:
            index.close()
        what = f"{stats.chunks} chunks of {stats.sources} sources in {binding.address}"
        yield Finding(f"index {name}", True, f"{what}, embedded by {stats.embedder}")


def _wrong(about: str, error: RagError) -> Finding:
    text = error.what if not hasattr(error, "problems") else str(error)
    return Finding(about, False, text, error.fix, error.exit_code)
