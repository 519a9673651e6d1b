"""What operators share that ask a language model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from pydantic import Field, PositiveInt
from rag.operators.post_retrieval.pack import pack

from rag.flow import Context, Operator
from rag.index.splitting import embedding_text
from rag.llm import LLM, Generation, Prompt, Sampling
from rag.llm.prompting import harmless

MARGIN = 64
"""Tokens kept free for the chat template."""
DELIMITER = 16
"""Tokens around each source."""
_BULLET = re.compile(r"^\s*(?:[-*\u2022\u2013]|\(?\d{1,2}[.):]|[a-z][.)])?\s*")


@dataclass(frozen=True)
class Told:
    """A prompt's text, and its version, raised when the text changes."""

    text: str
    version: int


@cache
def prompts() -> dict[str, Told]:
    """Every text that models are told, by name (`prompts.yaml`)."""
    from ruamel.yaml import YAML

    text = (Path(__file__).parent / "prompts.yaml").read_text(encoding="utf-8")
    found = YAML(typ="safe", pure=True).load(text)
    return {
        name: Told(str(one["text"]).strip(), int(one["version"])) for name, one in found.items()
    }


def told(name: str) -> Any:
    """The field with a prompt of `prompts.yaml` as its default."""
    one = prompts()[name]
    return Field(default=one.text, description=f"what the model is told (version {one.version})")


class Asking(Operator):
    """Base of the operators that ask a language model for a text."""

    span_kind = "LLM"

    max_tokens: PositiveInt = Field(default=64, description="the model's answer at most")

    async def _ask(
        self,
        llm: LLM,
        run: Context,
        system: str,
        question: str,
        documents: Sequence[Document] = (),
        **sampling: Any,
    ) -> Generation:
        """The model's answer; what does not fit its window is left out, with a warning."""
        settings = Sampling(**{"max_tokens": self.max_tokens, **sampling})
        prompt = fitting(llm, run, system, question, documents, settings.max_tokens)
        run.spend(llm_calls=1)
        done = await llm.generate(prompt, settings)
        run.spend(tokens=done.prompt_tokens + done.completion_tokens)
        return done

    async def _yes(
        self,
        llm: LLM,
        run: Context,
        system: str,
        question: str,
        documents: Sequence[Document] = (),
    ) -> float:
        """The probability of Yes over No; 0.5 where the model does not say."""
        run.spend(llm_calls=1)
        asked = f"{question}\n{system}"
        prompt = fitting(llm, run, "", asked, documents, self.max_tokens)
        choice = await llm.choose(prompt, ["Yes", "No"], default="No")
        return choice.probabilities["Yes"]


def fitting(
    llm: LLM,
    run: Context,
    system: str,
    question: str,
    documents: Sequence[Document],
    answer: int,
    *,
    numbered: bool = True,
) -> Prompt:
    """A prompt that fits the model's window, with a warning of what was left out.

    Args:
        llm: The model.
        run: Gets the warnings.
        system: What the model is told.
        question: Cut at half of the window.
        documents: Best first; those that do not fit are left out.
        answer: Tokens kept free for the answer.
        numbered: Whether the sources get numbers.
    """
    asked = llm.clip(question, max(llm.window // 2 - llm.count(system), 1))
    if len(asked) < len(question):
        run.warn(f"the question is cut to {len(asked)} of {len(question)} characters")
    texts = [d.model_copy(update={"page_content": embedding_text(d)}) for d in documents]
    taken = llm.count(system) + llm.count(asked) + answer + MARGIN
    kept = pack(texts, max(llm.window - taken - DELIMITER * len(texts), 1), llm.count, llm.clip)
    if len(kept) < len(texts):
        run.warn(
            f"{len(texts) - len(kept)} of {len(texts)} documents do not fit the "
            f"model's window of {llm.window} tokens"
        )
    whole = {text.page_content for text in texts}
    for document in kept:
        if document.page_content not in whole:
            size = len(document.page_content)
            run.warn(f"a document is cut to {size} characters by the window of {llm.window} tokens")
    chunks = tuple(document.page_content for document in kept)
    return Prompt(question=asked, system=system, chunks=chunks, numbered=numbered)


def about(query: str, answer: str, what: str = "Answer") -> str:
    """The question together with what was answered, which may quote a document's delimiters."""
    return f"{query}\n{what}: {harmless(answer)}"


def lines(text: str, most: int, *, but: str = "") -> list[str]:
    """The different lines of a list that a model wrote, without numbers and bullets.

    Args:
        text: What it wrote.
        most: Lines at most.
        but: A line that is not wanted again.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        plain = _BULLET.sub("", line, count=1).strip().strip("\"'`*")
        key = plain.casefold()
        if re.search(r"\w", plain) and not plain.endswith(":") and key != but.strip().casefold():
            found.setdefault(key, plain)
    return list(found.values())[:most]


def first_line(text: str) -> str:
    """The first line that says something, without quotes and bullets; empty: there is none."""
    return next(iter(lines(text, 1)), "")
