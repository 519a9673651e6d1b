"""A semantic cache of answers around a flow."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from functools import lru_cache
from typing import Any, Literal

from langchain_core.documents import Document
from pydantic import Field, field_validator

from rag.errors import ConfigError
from rag.flow import Flow, Node, Operator, RunContext
from rag.flow.memory.codec import document_from, document_json
from rag.flow.memory.fingerprint import Unstable, fingerprint
from rag.flow.yaml.load import load_flow
from rag.index import Index
from rag.index.answers import Answers, StoredAnswer
from rag.models import LLM, Embedder, Prompt
from rag.operators.facts import denies, months, names, numbers
from rag.operators.generation.cite import Citation
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.text.abstention import abstains

CANDIDATES = 3
"""Stored questions that are looked at, nearest first."""


class AnswerCache(Operator):
    """Answers a question as an earlier one of the same meaning was answered, else by a flow.

    A semantic cache (GPTCache, Bang 2023). Where no stored question is near enough the flow
    `otherwise: {steps: [...]}` runs, which must write `answer`. An answer is found only under all
    of: the same index and commit, embedder, language model and prompts, inner flow, and user.
    Then numbers, months, names and negations of both questions must agree, with `same: model` the
    model must also say that they ask for the same, and every chunk that the answer was given from
    must still be there. Within a conversation (`history`) nothing is looked up or stored, and an
    answer that says that there is none is not stored. For questions that many people ask in other
    words. LLM calls: those of the flow, or none; with `same: model` up to 3 more.
    Reads `query` and, if present, `history`; writes `answer`, `documents`, `citations`, and
    `cached`: the earlier `question` and its `similarity`, empty for an answer given now.
    Example: `{use: answer_cache, otherwise: {steps: [{use: dense}, {use: generate}, {use: cite}]}}`
    """

    writes = ("answer", "documents", "citations", "cached")
    span_kind = "CHAIN"

    otherwise: dict[str, Any] = Field(
        description="the flow that answers: `steps`, as in a pipeline file"
    )
    threshold: float = Field(
        default=0.95, ge=0, le=1, description="cosine of two questions from which they may match"
    )
    same: Literal["rules", "model"] = Field(
        default="rules", description="who says that two questions ask for the same"
    )

    @field_validator("otherwise")
    @classmethod
    def _answers(cls, otherwise: dict[str, Any]) -> dict[str, Any]:
        if "resources" in otherwise:
            raise ConfigError(
                "the inner flow of `answer_cache` names resources",
                where="otherwise.resources",
                fix="name them in the pipeline: a user's own take their place there",
            )
        if "answer" not in _loaded(json.dumps(otherwise)).output_types:
            what = "the inner flow of `answer_cache` writes no `answer`"
            raise ConfigError(what, where="otherwise.steps", fix="end it with `generate`")
        return otherwise

    def inner(self) -> Node:
        """The node of the flow that answers what was not asked before."""
        return _loaded(json.dumps(self.otherwise)).node

    async def run(
        self,
        query: str,
        history: History | None = None,
        *,
        answers: Answers,
        index: Index,
        embedder: Embedder,
        llm: LLM,
        ctx: RunContext,
    ) -> tuple[str, list[Document], list[Citation], dict[str, Any]]:
        """The answer, what it was given from, and which earlier question it was given to."""
        inner = _loaded(json.dumps(self.otherwise))
        try:
            node = fingerprint(inner.node)
        except Unstable as error:
            ctx.warn(f"answers are not cached: {error}")
            return await self._answered(inner, query, history, ctx)
        if history or not query.strip():
            return await self._answered(inner, query, history, ctx)

        def scope() -> str:
            return answers.scope(
                index=index.address.key, version=index.version(),
                embedder=[index.embedder, embedder.id], llm=[llm.id, llm.version()], flow=node,
            )  # fmt: skip

        before = scope()
        vector = await asyncio.to_thread(embedder.embed_query, query)
        try:
            found = await asyncio.to_thread(
                answers.nearest, before, vector, self.threshold, CANDIDATES
            )
            for one in found:
                if await self._holds(query, one, answers, index, ModelCall(llm, ctx)):
                    await asyncio.to_thread(answers.use, one.id)
                    ctx.token(one.data["answer"])
                    return _restored(one)
        except sqlite3.Error as error:
            ctx.warn(f"the answer cache cannot be read: {error}")
        done = await self._answered(inner, query, history, ctx)
        # What was written to the index meanwhile may have changed the answer: it is of neither.
        if done[1] and not abstains(done[0]) and scope() == before:
            await self._store(answers, before, query, vector, done, index, ctx)
        return done

    async def _answered(
        self, inner: Flow, query: str, history: History | None, ctx: RunContext
    ) -> tuple[str, list[Document], list[Citation], dict[str, Any]]:
        inputs: dict[str, Any] = {"query": query}
        if "history" in inner.inputs and history is not None:
            inputs["history"] = history
        done = await ctx.run(inner, **inputs)
        return str(done["answer"]), done.get("documents") or [], done.get("citations") or [], {}

    async def _holds(
        self, query: str, one: StoredAnswer, answers: Answers, index: Index, call: ModelCall
    ) -> bool:
        """Whether a stored answer may be given."""
        if query != one.query and not alike(query, one.query):
            return False
        there = await asyncio.to_thread(index.get, one.chunks)
        if len(there) < len(one.chunks):
            await asyncio.to_thread(answers.drop, one.id)
            return False
        if self.same == "rules" or query == one.query:
            return True
        both = call.texts["quote_questions"].format(one=one.query, other=query)
        prompt = Prompt(both, call.texts["same_question"].text)
        return (await call.choose(prompt, ("Yes", "No"), default="No")).option == "Yes"

    async def _store(
        self,
        answers: Answers,
        scope: str,
        query: str,
        vector: Any,
        done: tuple[str, list[Document], list[Citation], dict[str, Any]],
        index: Index,
        ctx: RunContext,
    ) -> None:
        answer, documents, citations, _ = done
        ids = list(dict.fromkeys(one.id for one in documents if one.id))
        known = [str(one.id) for one in await asyncio.to_thread(index.get, ids)]
        data = {
            "answer": answer,
            "documents": [document_json(one) for one in documents],
            "citations": [one.model_dump(mode="json") for one in citations],
        }
        try:
            await asyncio.to_thread(answers.put, scope, query, vector, known, data)
        except (sqlite3.Error, TypeError) as error:
            ctx.warn(f"the answer is not cached: {error}")


def alike(one: str, other: str) -> bool:
    """Whether two questions agree in their numbers, months, names and negation.

    A name of one may be written in small letters in the other.
    """
    if (numbers(one), months(one), denies(one)) != (numbers(other), months(other), denies(other)):
        return False

    def has(text: str, name: str) -> bool:
        return re.search(rf"\b{re.escape(name.casefold())}", text.casefold()) is not None

    return all(has(other, name) for name in names(one)) and all(
        has(one, name) for name in names(other)
    )


def _restored(
    one: StoredAnswer,
) -> tuple[str, list[Document], list[Citation], dict[str, Any]]:
    label = {"question": one.query, "similarity": round(one.similarity, 4)}
    documents = [document_from(data) for data in one.data["documents"]]
    citations = [Citation.model_validate(data) for data in one.data["citations"]]
    return one.data["answer"], documents, citations, label


@lru_cache(maxsize=64)
def _loaded(text: str) -> Flow:
    """The inner flow, which inherits the resources of the outer one."""
    return load_flow(f"{text}\n")
