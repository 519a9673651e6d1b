"""Commands that pages show exist, with their options: in blocks, and within a sentence."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from rag.cli.main import app
from tests.examples.pages import ROOT, TEXTS, commands_of, prose_of

RAG: Any = typer.main.get_command(app)
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
CHANGELOG = ROOT / "CHANGELOG.md"
"""Names what there is no more."""
_INLINE = re.compile(r"(?<!`)`((?:rag|make|python|pip) [^`\n]+)`(?!`)")
_SETTING = re.compile(r"^[A-Z_]+=\S+$")


def commands_in(text: str) -> list[list[str]]:
    """The words of each command of a page, without variables set before it."""
    found = []
    for line in [*commands_of(text), *_INLINE.findall(prose_of(text))]:
        if not re.match(r"^([A-Z_]+=\S+ )*(rag|make|python|pip) ", line):
            continue
        words = shlex.split(line, comments=True)
        while _SETTING.match(words[0]):
            words = words[1:]
        end = next((n for n, word in enumerate(words) if word in ("|", ">", "&&", ";")), None)
        found.append(words[:end])
    return found


def options(command: Any) -> set[str]:
    context = command.make_context("rag", [], resilient_parsing=True)
    return {
        name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)
    }


def mistakes(words: list[str]) -> list[str]:
    """What of a command does not exist."""
    program, *rest = words
    if program == "make":
        wanted = [word for word in rest if "=" not in word and not word.startswith("-")]
        return [f"no target {word}" for word in wanted if word not in TARGETS]
    if program == "pip":
        ours = [word for word in rest if word.startswith(("modular-rag[", ".["))]
        named = {name for word in ours for name in word.split("[")[1].rstrip("]").split(",")}
        return [f"no extra {name}" for name in named - EXTRAS]
    if program == "python":
        return _of_python(rest)
    return _of_rag(rest)


def _of_python(words: list[str]) -> list[str]:
    script = ROOT / words[0] if words else ROOT
    if not words or not words[0].startswith(("benchmarks/", "examples/")):
        return []
    if not script.is_file():
        return [f"no script {words[0]}"]
    text = "".join(one.read_text() for one in (script, *_beside(script)))
    return [
        f"{words[0]} has no {word}" for word in words[1:] if word[:2] == "--" and word not in text
    ]


def _beside(script: Path) -> list[Path]:
    """Scripts of the same folder that a script imports."""
    names = re.findall(r"^from (\w+) import", script.read_text(), re.MULTILINE)
    return [one for name in names if (one := script.parent / f"{name}.py").is_file()]


def _of_rag(words: list[str]) -> list[str]:
    command, path, wrong, before = RAG, "rag", [], ""
    allowed = options(command)
    for word in words:
        inner = getattr(command, "commands", {})
        if re.match("--?[a-z]", word):
            name = word.partition("=")[0]
            wrong += [] if name in allowed else [f"{path} has no {name}"]
        elif word in inner:
            command, path = inner[word], f"{path} {word}"
            allowed = options(command) | {"--help"}
        elif inner and word.islower() and not before.startswith("-"):
            return [*wrong, f"{path} has no {word}"]
        before = word
    return wrong


@pytest.mark.parametrize(
    "page", [page for page in TEXTS if page != CHANGELOG], ids=lambda page: page.stem
)
def test_they_exist(page: Path) -> None:
    found = commands_in(page.read_text(encoding="utf-8"))
    assert {" ".join(words): wrong for words in found if (wrong := mistakes(words))} == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```\nrag aks x\n```\n", "rag has no aks"),
        ("```sh\nX=1 rag ask --trase x\n```\n", "rag ask has no --trase"),
        ("Say `rag bench pipelines --at-once 16` to it.", "rag bench pipelines has no --at-once"),
        ("    rag index remove --all\n", "rag index remove has no --all"),
        ("```\nmake dema\n```\n", "no target dema"),
        ('```\npip install "modular-rag[sevre]"\n```\n', "no extra sevre"),
        ("`python benchmarks/startups.py`", "no script benchmarks/startups.py"),
        ("`python benchmarks/flow_overhead.py --pears X`",
         "benchmarks/flow_overhead.py has no --pears"),
    ],
)  # fmt: skip
def test_a_mistake_is_seen(text: str, wrong: str) -> None:
    assert [mistakes(words) for words in commands_in(text)] == [[wrong]]


def test_every_command_has_a_row() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = " ".join(re.findall(r"^\| (`rag .*?) \|", page, re.MULTILINE))
    for name, command in RAG.commands.items():
        assert f"`rag {name}" in rows
        for inner in getattr(command, "commands", {}):
            assert f"{inner}`" in rows or f" {inner} " in rows, f"rag {name} {inner}"
