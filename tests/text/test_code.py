"""Source code cut at its definitions, in each language."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from langchain_core.documents import Document

from rag.text.code import LANGUAGES, code_parts
from rag.text.splitting import split

CODE = {
    "java": (
        (
            "package a;\n\n/** Doc. */\npublic class Lock {\n  private int n;\n\n  // opens\n"
            "  @Override\n  public void open(int a) {\n    n = a;\n  }\n}\n"
        ),
        {"Lock": "/** Doc. */\npublic class Lock", "Lock > open": "  // opens\n  @Override"},
    ),
    "js": (
        (
            "import x from 'y';\n\n// adds\nexport function add(a) { return a; }\n\nclass A {\n"
            "  m() { return 1; }\n}\nconst f = (x) => x;\n"
        ),
        {"add": "// adds\nexport function", "A": "class A", "A > m": "  m()", "f": "const f"},
    ),
    "ts": (
        "export interface P { a: string }\nexport class A<T> {\n  m(): void {}\n}\nenum E { X }\n",
        {"P": "export interface", "A": "export class", "A > m": "  m()", "E": "enum E"},
    ),
    "go": (
        (
            "package main\n\n// Lock is.\ntype Lock struct { n int }\n\n"
            "func (l *Lock) Open() error {\n"
            "  return nil\n}\n\nfunc main() {}\n"
        ),
        {"Lock": "// Lock is.\ntype", "Lock > Open": "func (l", "main": "func main"},
    ),
    "rust": (
        (
            "/// Doc\n#[derive(Debug)]\npub struct S { a: u8 }\n\nimpl S {\n"
            "  pub fn new() -> Self {\n"
            "    S { a: 1 }\n  }\n}\n\nmod m {\n  fn f() {}\n}\n"
        ),
        {"S": "/// Doc\n#[derive", "S > new": "  pub fn", "m": "mod m", "m > f": "  fn f"},
    ),
    "c": (
        (
            "#include <x.h>\n\n/* adds */\nint add(int a) {\n  return a;\n}\n\n"
            "struct P { int a; };\n"
            "static char *name(void) { return 0; }\nstruct P one;\n"
        ),
        {"add": "/* adds */\nint add", "P": "struct P {", "name": "static char"},
    ),
    "cpp": (
        (
            "namespace n {\nclass A {\n public:\n  void f() { }\n};\n}\n\n"
            "template <class T>\nT id(T t) { return t; }\n"
        ),
        {"n": "namespace", "n > A": "class A", "n > A > f": "  void f", "id": "template"},
    ),
    "csharp": (
        "namespace N {\n  public class A {\n    public void F() { }\n  }\n}\n",
        {"N": "namespace", "N > A": "  public class", "N > A > F": "    public void"},
    ),
    "ruby": (
        "module M\n  class A\n    # adds\n    def f(x)\n      x\n    end\n  end\nend\n",
        {"M": "module", "M > A": "  class", "M > A > f": "    # adds\n    def"},
    ),
    "php": (
        "<?php\nclass A {\n  function f() {}\n}\nfunction g() {}\n",
        {"A": "class A", "A > f": "  function f", "g": "function g"},
    ),
    "kotlin": (
        "class A {\n  fun f(): Int = 1\n}\nfun g() {}\n",
        {"A": "class A", "A > f": "  fun f", "g": "fun g"},
    ),
    "scala": (
        "class A {\n  def f: Int = 1\n}\nobject O {\n  def g = 2\n}\n",
        {"A": "class A", "A > f": "  def f", "O": "object O", "O > g": "  def g"},
    ),
    "swift": (
        "class A {\n  func f() {}\n}\nstruct S {\n  var a: Int\n}\n",
        {"A": "class A", "A > f": "  func f", "S": "struct S"},
    ),
    "lua": (
        "local function f()\nend\n\nfunction M.g(x)\n  return x\nend\n",
        {"f": "local function", "M.g": "function M.g"},
    ),
    "bash": (
        "# says one\nf() {\n  echo 1\n}\n\ng() {\n  echo 2\n}\n",
        {"f": "# says one\nf()", "g": "g()"},
    ),
    "python": (
        "import a\n\n\nclass A:\n    # adds\n    def f(self):\n        pass\n",
        {"A": "class A", "A > f": "    # adds\n    def"},
    ),
}


def found(text: str, language: str) -> dict[str, str]:
    return {" > ".join(path): text[a:b] for path, (a, b) in code_parts(text, language)}


@pytest.mark.parametrize("language", sorted(CODE))
def test_each_definition_is_a_part_with_what_stands_above_it(language: str) -> None:
    text, expected = CODE[language]
    parts = found(text, language)
    assert {name for name in parts if name} == set(expected)
    for name, beginning in expected.items():
        assert parts[name].startswith(beginning)


@pytest.mark.parametrize("language", sorted(CODE))
def test_parts_make_up_the_text(language: str) -> None:
    text, _ = CODE[language]
    spans = [span for _, span in code_parts(text, language)]
    assert spans[0][0] == 0
    assert all(a < b for a, b in spans)
    assert [a for a, _ in spans[1:]] == [b for _, b in spans[:-1]]
    assert spans[-1][1] == len(text)


def test_every_language_has_an_example() -> None:
    assert set(CODE) == LANGUAGES


def test_code_with_errors_is_cut_where_it_can_be_read() -> None:
    broken = "def f(:\n    pass\n\n\ndef g(a):\n    return a\n"
    assert any(name.endswith("g") for name in found(broken, "python"))
    assert "f" in found("function f() { return 1; }\nconst = ;\n", "js")


def test_tsx_is_read_too() -> None:
    assert "App" in found("export function App() {\n  return <p>one</p>;\n}\n", "ts")


@pytest.mark.parametrize("text", ["", "\n\n", "x = 1;\n", "\udc80", "\x00"])
def test_what_has_no_definitions_is_cut_as_text(text: str) -> None:
    assert code_parts(text, "js") == []


def test_an_unknown_language_is_cut_as_text() -> None:
    assert code_parts("f :: Int -> Int", "haskell") == []


def test_without_tree_sitter_code_is_cut_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter_language_pack", None)
    assert code_parts(CODE["go"][0], "go") == []
    assert "A > f" in found(CODE["python"][0], "python")


def test_deep_nesting_is_no_deep_recursion() -> None:
    code_parts("function f() {" + "{" * 20_000 + "}" * 20_000 + "}\n", "js")


def test_chunks_have_paths_as_headings() -> None:
    text, _ = CODE["java"]
    document = Document(page_content=text, metadata={"language": "java"})
    chunks: Any = split([document], size=12, overlap=0, splitter="code")
    assert {chunk.heading for chunk in chunks} >= {"Lock", "Lock > open"}
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
