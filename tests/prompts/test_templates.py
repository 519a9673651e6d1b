"""The templates, and the digest that cached answers depend on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rag.models import Prompt
from rag.prompts import layout, templates
from rag.prompts.digest import digest
from rag.prompts.layout import PromptTokens, messages
from rag.prompts.templates import PromptTemplate, prompts

ROOT = Path(__file__).parents[2]


def test_values_take_the_place_of_their_placeholders_and_nothing_else_changes() -> None:
    template = PromptTemplate('Write {n} lines about {topic} like {"a": {}} or {other}.')
    assert template.format(n=2, topic="{n} locks") == (
        'Write 2 lines about {n} locks like {"a": {}} or {other}.'
    )


def test_the_parts_are_laid_out_in_one_order() -> None:
    turns = (("user", "Earlier?"), ("assistant", "So."))
    prompt = Prompt("Who?", "Be brief.", ("a", "b"), turns)  # type: ignore[arg-type]
    assert messages(prompt) == [
        ("system", "Be brief."),
        ("user", "Earlier?"),
        ("assistant", "So."),
        (
            "user",
            "Sources:\n\n<source 1>\na\n</source>\n\n<source 2>\nb\n</source>\n\nQuestion: Who?",
        ),
    ]
    assert messages(Prompt("Who?")) == [("user", "Who?")]


def test_token_ids_are_counted_and_joined_in_order() -> None:
    tokens = PromptTokens([1, 2], [[3], [4, 5]], [6])
    assert tokens.ids == [1, 2, 3, 4, 5, 6]
    assert tokens.total == 6


@pytest.mark.parametrize("name", [*prompts()])
def test_the_digest_depends_on_every_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    changed = {**prompts(), name: PromptTemplate(f"{prompts()[name].text} Be brief.", 2)}
    monkeypatch.setattr(templates, "prompts", lambda: changed)
    assert digest() != before


def test_the_digest_depends_on_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    monkeypatch.setattr(layout, "CLOSE", "</document>")
    assert digest() != before


def test_every_template_is_used() -> None:
    """A name that no code mentions belongs to a text that no model gets."""
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("rag", "operators")
        for path in (ROOT / folder).rglob("*.py")
    )
    named = set(re.findall(r"""["'](\w+)["']""", code))
    begun = tuple(re.findall(r"""f["'](\w+_)\{""", code))  # f"quote_{what}"
    unused = [n for n in prompts() if n not in named and not n.startswith(begun)]
    assert unused == []


INSTRUCTION = re.compile(
    r"\b(?:Write|Answer|Rewrite|Say|Rank|Summari[sz]e|Translate)\b[^.?!:]*"
    r"\b(?:question|answer|source|sources|query|sentence|conversation)\b"
)
"""What an instruction to a model looks like."""


def _texts(path: Path) -> list[str]:
    """The strings of a module that are no docstrings, descriptions or messages for people."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            skipped |= {id(one) for one in ast.walk(node)}
        if isinstance(node, ast.keyword) and node.arg in ("description", "help", "fix", "what"):
            skipped |= {id(one) for one in ast.walk(node)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in skipped
    ]


def test_no_instruction_to_a_model_is_outside_the_templates() -> None:
    found = [
        (str(path.relative_to(ROOT)), text)
        for folder in ("rag", "operators")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in _texts(path)
        if INSTRUCTION.search(text)
    ]
    assert found == []
    assert INSTRUCTION.search(prompts()["generate"].text)
