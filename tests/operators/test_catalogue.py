"""The catalogue, the lazy imports and the type stub agree with the files."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rag.operators
from rag.flow import Operator
from rag.flow.registry import Registry
from rag.operators import CATALOGUE, stub
from rag.operators.catalogue import FOLDER, Catalogue

NAMES = sorted(CATALOGUE)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_holds_the_one_operator_of_its_name(name: str) -> None:
    module, _, kind = CATALOGUE[name].partition(":")
    found = importlib.import_module(module)
    classes = [
        one
        for _, one in inspect.getmembers(found, inspect.isclass)
        if issubclass(one, Operator) and one.__module__ == module
    ]
    assert [one.__name__ for one in classes] == [kind]
    assert classes[0].use == name
    assert getattr(rag.operators, kind) is classes[0]
    assert Registry()[name] is classes[0]


def test_every_file_of_a_module_is_in_the_catalogue() -> None:
    files = {file.stem for file in FOLDER.glob("*/*.py") if file.stem != "__init__"}
    assert files == set(NAMES)
    assert len(CATALOGUE) == len(NAMES) == len(dict(CATALOGUE)) > 60


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_catalogue_imports_no_operator_and_a_class_only_itself() -> None:
    loaded = "sorted(m for m in sys.modules if m.startswith('rag.operators.') and m.count('.') > 2)"
    code = f"import sys; from rag.operators import CATALOGUE; dict(CATALOGUE); print({loaded})"
    assert run(code) == "[]"
    code = f"import sys; from rag.operators import Reorder; print({loaded})"
    assert run(code) == "['rag.operators.post_retrieval.reorder']"


@pytest.mark.parametrize("name", ["Nothing", "rerank", "mmr", "RERANK", "__wrapped__"])
def test_what_is_no_operator_is_no_attribute(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(rag.operators, name)


def test_the_package_lists_its_operators() -> None:
    listed = dir(rag.operators)
    assert {"CATALOGUE", "HyDE", "LLMFusion", "BM25"} <= set(listed)
    assert len(listed) == len(NAMES) + 1


def test_the_stub_is_up_to_date() -> None:
    assert stub.FILE.read_text(encoding="utf-8") == stub.text(), "run `make stubs`"


def test_a_file_without_its_class_is_named(tmp_path: Path) -> None:
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "two_words.py").write_text("class TwoWords(Operator):\n    ...\n")
    (tmp_path / "module" / "lost.py").write_text("class Other(Operator):\n    ...\n")
    found = Catalogue(tmp_path, "package")
    assert found["two_words"] == "package.module.two_words:TwoWords"
    assert found.of_class("TwoWords") == "package.module.two_words:TwoWords"
    assert found.of_class("Twowords") is None
    with pytest.raises(ImportError, match=r"lost\.py defines no class"):
        found["lost"]
    with pytest.raises(KeyError):
        found["nothing"]
