"""Expressions mean the same everywhere, change nothing and stay small."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.flow.expressions import FUNCTIONS, MAX_REPEAT, Expression

ASK = "from rag.flow.expressions import Expression\n{first}\nExpression({text!r})"


@pytest.mark.parametrize("first", ["", "Expression('len([1])')({})"])
def test_what_may_be_called_does_not_depend_on_what_ran_before(first: str) -> None:
    text = ASK.format(first=first, text="list(documents)")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert "'list' cannot be called" in done.stderr
    before = dict(FUNCTIONS)
    Expression("len([1])")({})
    assert before == FUNCTIONS


@pytest.mark.parametrize(
    "text",
    [
        "documents.clear()",
        "documents.append(1)",
        "documents.sort()",
        "names.update({})",
        "names.pop('a')",
        "s.ljust(10**9)",
        "s.zfill(10**9)",
        "s.center(10**9)",
        "s.expandtabs(10**9)",
        "s.replace('a', s)",
        "s.join([s])",
        "s.format(s)",
        "(1).to_bytes(10**9, 'big')",
        "open('x')",
        "print(1)",
        "().__class__.__bases__",
        "s.__class__",
        "(lambda: 1)()",
        "[f for f in (1,)][0]()",
    ],
)
def test_what_changes_or_grows_is_refused(text: str) -> None:
    names = {"documents": [3, 1, 2], "names": {"a": 1}, "s": "a"}
    with pytest.raises(ConfigError):
        Expression(text)(names)
    assert names == {"documents": [3, 1, 2], "names": {"a": 1}, "s": "a"}


@pytest.mark.parametrize(
    "text",
    [
        "'%99999999d' % 1",
        "s % 1",
        f"s * {MAX_REPEAT + 1}",
        f"{MAX_REPEAT + 1} * s",
        f"[0] * {MAX_REPEAT + 1}",
        "99999 ** 999999",
        "(s * 10000) * 10000",
        "9 ** 9 ** 9",
        "s + 1",
        "missing",
    ],
)
def test_what_would_grow_fails_with_a_clear_error(text: str) -> None:
    with pytest.raises(ConfigError, match="failed"):
        Expression(text)({"s": "a"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("len(documents) < 3 and score > 0.5", True),
        ("documents[0].page_content.lower().startswith('t')", True),
        ("[d.page_content for d in documents]", ["Text"]),
        ("documents[0].metadata.get('n', 0) + 1", 5),
        ("any(d.metadata['n'] == 4 for d in documents)", True),
        ("'yes' if score else 'no'", "yes"),
        ("max([1, 5, 3]) % 3", 2),
        ("f'{score}'.strip()", "0.7"),
        ("not documents", False),
    ],
)
def test_what_conditions_need_is_there(text: str, value: Any) -> None:
    names = {"documents": [Document(page_content="Text", metadata={"n": 4})], "score": 0.7}
    assert Expression(text)(names) == value


def test_threads_do_not_see_each_others_channels() -> None:
    expression, wrong = Expression("x + 1"), []

    def check(x: int) -> None:
        wrong.extend(n for n in range(200) if expression({"x": x + n}) != x + n + 1)

    threads = [threading.Thread(target=check, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(st.text(max_size=30))
def test_any_text_is_an_expression_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        Expression(text)({"x": 1})


def test_deep_nesting_is_a_config_error() -> None:
    for text in ("(" * 5000 + "1" + ")" * 5000, "not " * 5000 + "x", "1" + "+1" * 20000):
        with pytest.raises(ConfigError):
            Expression(text)({"x": 1})
