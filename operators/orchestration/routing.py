"""Routing: which of several ways a question takes (arXiv 2407.21059, section IV-F)."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from rag.flow import Operator, RunContext
from rag.models import LLM, Embedder, choose
from rag.models.choice import CHOICE_TOKENS
from rag.operators.asking import Judging, fitting, told


class _Routing(Operator):
    """Base: the ways, and the one taken where none fits."""

    writes = "route"

    routes: dict[str, list[str]] = Field(description="way: what leads to it")
    default: str | None = Field(
        default=None, description="where nothing leads anywhere; the first way if not given"
    )

    @field_validator("routes")
    @classmethod
    def _not_empty(cls, routes: dict[str, list[str]]) -> dict[str, list[str]]:
        if not routes or not all(routes.values()):
            raise ValueError("name at least one way, and for each something that leads to it")
        return routes

    @property
    def _otherwise(self) -> str:
        return self.default or next(iter(self.routes))

    def _named(self, query: str) -> dict[str, float]:
        """Share of a way's keywords that stand in the query, as whole words."""
        said = f" {_plain(query)} "
        found = {}
        for way, keywords in self.routes.items():
            plain = [_plain(word) for word in keywords]
            found[way] = sum(f" {word} " in said for word in plain if word) / len(plain)
        return found

    def _alike(self, query: str, embedder: Embedder) -> dict[str, float]:
        """The highest cosine of the query with one of a way's utterances."""
        vector = embedder.embed_query(query)
        return {
            way: float((embedder.embed(utterances) @ vector).max())
            for way, utterances in self.routes.items()
        }


def _plain(text: str) -> str:
    """The words of the text, in small letters."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


class RouteByMetadata(_Routing):
    """Takes the way most of whose keywords the question names. Asks no model.

    Modular RAG's metadata routing (arXiv 2407.21059, section IV-F-1), for questions that name
    products, places or departments.
    Reads `query`; writes `route`.
    Example: `{use: route_by_metadata, routes: {locks: [lock, gate], pumps: [pump]}}`
    """

    def run(self, query: str) -> str:
        """Choose; the first of equal ones."""
        scores = self._named(query)
        best = max(scores, key=lambda way: scores[way])
        return best if scores[best] > 0 else self._otherwise


class RouteSemantic(_Routing):
    """Takes the way whose example utterances are nearest to the question.

    Modular RAG's semantic routing (arXiv 2407.21059, section IV-F-1), for questions that are
    alike in meaning and not in words. Asks the embedder only.
    Reads `query`; writes `route`.
    Example: `{use: route_semantic, routes: {small_talk: [hello there], facts: [how long is it]}}`
    """

    threshold: float = Field(default=0.2, ge=-1, le=1, description="cosine that a way needs")

    def run(self, query: str, *, embedder: Embedder) -> str:
        """Choose."""
        if not query.strip():
            return self._otherwise
        scores = self._alike(query, embedder)
        best = max(scores, key=lambda way: scores[way])
        return best if scores[best] >= self.threshold else self._otherwise


class RouteHybrid(_Routing):
    """Takes the way with the highest weighted sum of keywords named and meaning.

    Modular RAG's hybrid routing (arXiv 2407.21059, section IV-F-1): a x keywords + (1 - a) x
    cosine. The entries of a way are both its keywords and its example utterances. For questions
    that name things and for those that do not. Asks the embedder only.
    Reads `query`; writes `route`.
    Example: `{use: route_hybrid, weight: 0.5, routes: {locks: [lock], pumps: [pump]}}`
    """

    weight: float = Field(default=0.5, ge=0, le=1, description="a: of the keywords")
    threshold: float = Field(default=0.1, ge=-1, le=1, description="sum that a way needs")

    def run(self, query: str, *, embedder: Embedder) -> str:
        """Choose."""
        if not query.strip():
            return self._otherwise
        named, alike = self._named(query), self._alike(query, embedder)
        scores = {w: self.weight * named[w] + (1 - self.weight) * alike[w] for w in named}
        best = max(scores, key=lambda way: scores[way])
        return best if scores[best] >= self.threshold else self._otherwise


class RouteLLM(Judging):
    """Lets the model choose the way by its description.

    Modular RAG's semantic routing by the model (arXiv 2407.21059, section IV-F-1), for ways that
    need understanding; the answer is always one of them. LLM calls: 1.
    Reads `query`; writes `route`.
    Example: `{use: route_llm, routes: {facts: a question about facts, chat: small talk}}`
    """

    use = "route_llm"
    writes = "route"

    routes: dict[str, str] = Field(min_length=1, description="way: what questions take it")
    default: str | None = Field(
        default=None, description="where the model names none; the first way if not given"
    )
    system: str = told("route_llm")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> str:
        """Choose."""
        otherwise = self.default or next(iter(self.routes))
        if not query.strip():
            return otherwise
        listed = "\n".join(f"- {way}: {what}" for way, what in self.routes.items())
        ctx.spend(llm_calls=1)
        prompt = fitting(llm, ctx, "", query, (), CHOICE_TOKENS, then=f"{self.system}\n{listed}")
        options = list(self.routes)
        known = otherwise if otherwise in options else options[0]
        choice = await choose(llm, prompt, options, default=known)
        ctx.spend(tokens=choice.tokens)
        if not choice.certain:
            ctx.warn(f"the model named none of the ways: {otherwise!r} is taken")
            return otherwise
        return choice.option
