"""Routing by meaning."""

from __future__ import annotations

from pydantic import Field

from rag.flow import Operator
from rag.models import Embedder
from rag.operators.routing import Default, Routes, best_route, utterance_cosines


class RouteSemantic(Operator):
    """Takes the route with the example utterance most similar to the question.

    Modular RAG's semantic routing (arXiv 2407.21059, section IV-F-1), for questions that share
    their meaning but not their words. Needs the embedder; no LLM call.
    Reads `query`; writes `route`.
    Example: `{use: route_semantic, routes: {small_talk: [hello there], facts: [how long is it]}}`
    """

    writes = "route"

    routes: Routes = Field(description="route to its example utterances")
    default: Default = None
    threshold: float = Field(default=0.2, ge=-1, le=1, description="cosine that a route needs")

    def run(self, query: str, *, embedder: Embedder) -> str:
        """The route; the default for an empty query."""
        if not query.strip():
            return self.default or next(iter(self.routes))
        scores = utterance_cosines(query, self.routes, embedder)
        return best_route(scores, self.threshold, self.default)
