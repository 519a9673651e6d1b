"""Packages with operators of others: the example, and what `rag new operator` writes."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rag.cli.main import app
from rag.cli.new import templates
from rag.errors import ConfigError
from rag.flow.operator import snake_case

EXAMPLE = Path(__file__).parents[2] / "examples" / "operator-package"
RAG = Path(sys.executable).parent / "rag"


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "160", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Packages:
    """The example and a new package, both installed.

    Attributes:
        example: The example's source.
        new: The new package's source.
        env: The environment in which they are found.
    """

    example: Path
    new: Path
    env: dict[str, str]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    folder = tmp_path_factory.mktemp("packages")
    example = shutil.copytree(EXAMPLE, folder / "source")
    new = folder / "long-enough"
    made = CliRunner().invoke(app, ["new", "operator", "long_enough", "--dir", str(new)])
    assert made.exit_code == 0, made.output
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    target = ["--no-build-isolation", "--target", str(folder / "site")]
    run([*pip, *target, str(example), str(new)], folder, {})
    return Packages(example, new, {"PYTHONPATH": str(folder / "site")})


@pytest.mark.slow
def test_the_example_is_used_from_yaml(packages: Packages, tmp_path: Path) -> None:
    (tmp_path / "news.yaml").write_text(
        "name: news\n"
        "inputs: {documents: 'list[Document]'}\n"
        "steps: [{use: newest_first, key: published, k: 1}]\n"
    )
    given = [
        {"page_content": "old", "metadata": {"published": "2020-01-01"}},
        {"page_content": "new", "metadata": {"published": "2025-01-01"}},
    ]
    told = f"documents={json.dumps(given)}"
    command = [str(RAG), "run", "news.yaml", "--json", "--input", told]
    said = run(command, tmp_path, packages.env)
    (found,) = json.loads(said)["documents"]
    assert found["text"] == "new"
    command = [str(RAG), "operators", "newest_first", "--json"]
    described = json.loads(run(command, tmp_path, packages.env))
    assert described["where"] == "rag_newest_first:NewestFirst"


@pytest.mark.slow
def test_a_new_package_is_found_and_written_well(packages: Packages, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "inputs: {documents: 'list[Document]'}\nsteps: [{use: long_enough, min_words: 3}]\n"
    )
    assert "OK" in run([str(RAG), "check", "own.yaml"], tmp_path, packages.env)
    ruff = ["ruff", "check", "--isolated", "--select", "E,F,W,B,UP,D", "--ignore", "D203,D213"]
    source = str(packages.new / "src")
    run([sys.executable, "-m", *ruff, "--line-length", "100", source], tmp_path, {})


@pytest.mark.slow
def test_both_pass_their_tests(packages: Packages, tmp_path: Path) -> None:
    both = [str(packages.example), str(packages.new)]
    tests = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib"]
    run([*tests, *both], tmp_path, packages.env)


def names_in(source: str) -> set[str]:
    """Every name that a module takes from elsewhere, its attributes included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.alias(name=name):
                found |= set(name.split("."))
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
    return found


def test_any_name_of_the_templates_may_be_an_operators_name(tmp_path: Path) -> None:
    wrote = templates("sample")
    used = set().union(*(names_in(text) for path, text in wrote.items() if path.endswith(".py")))
    names = {snake_case(name).strip("_") for name in used}
    assert {"document", "flow", "operator", "field", "rag", "pydantic", "documents"} <= names
    sources = []
    for name in sorted(names):
        folder = tmp_path / f"rag-{name}"
        for path, text in templates(name).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        sources.append(str(folder / "src"))
    tests = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", str(tmp_path)]
    said = run(tests, tmp_path, {"PYTHONPATH": os.pathsep.join(sources)})
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    each, rest = divmod(int(passed[1]), len(names))
    assert each >= 10  # the suite, and not only the tests that the template adds
    assert rest == 0


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (file / "below", file / "far" / "below", tmp_path / ("x" * 300)):
        made = CliRunner().invoke(app, ["new", "operator", "shout", "--dir", str(place)])
        assert isinstance(made.exception, ConfigError)
        assert "cannot be written" in str(made.exception)
        assert made.exception.fix == "give another --dir"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    made = CliRunner().invoke(app, ["new", "operator", "shout", "--dir", str(folder)])
    assert isinstance(made.exception, ConfigError)
    assert "already exists" in str(made.exception)
    assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NewestFirst", "newest_first"),
        ("newest first", "newest_first"),
        ("", "lower-case letters"),
        ("../evil", "evil"),
        ("9lives", "lives"),
        ("_private", "private"),
        ("a__b", "a_b"),
        ("n\u00e4chste", "lower-case letters"),
        ("x" * 51, "50 at most"),
        ("class", "keyword of Python"),
        ("none", "keyword of Python"),
        ("null", "not a string in YAML"),
        ("rerank", "there already is an operator 'rerank'"),
    ],
)
def test_a_bad_name_is_refused(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(app, ["new", "operator", name])
    assert isinstance(made.exception, ConfigError)
    assert made.exception.fix
    assert says in str(made.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_example_is_built_like_a_new_one() -> None:
    def shape(text: str) -> object:
        found = tomllib.loads(text)
        return found["project"]["entry-points"], found["tool"], found["build-system"]

    new = templates("newest_first")
    assert shape(new["pyproject.toml"]) == shape((EXAMPLE / "pyproject.toml").read_text())
    assert all((EXAMPLE / path).is_file() for path in new)
