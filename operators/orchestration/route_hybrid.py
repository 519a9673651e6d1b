"""Routing by keywords and meaning."""

from __future__ import annotations

from pydantic import Field

from rag.flow import Operator
from rag.models import Embedder
from rag.operators.routing import Default, Routes, best_route, keyword_shares, utterance_cosines


class RouteHybrid(Operator):
    """Takes the route with the highest weighted sum of keyword share and cosine.

    Modular RAG's hybrid routing (arXiv 2407.21059, section IV-F-1): a x keywords + (1 - a) x
    cosine. The entries of a route are both its keywords and its example utterances. For questions
    that may or may not name what they are about. Needs the embedder; no LLM call.
    Reads `query`; writes `route`.
    Example: `{use: route_hybrid, weight: 0.5, routes: {locks: [lock], pumps: [pump]}}`
    """

    writes = "route"

    routes: Routes = Field(description="route to its keywords and example utterances")
    default: Default = None
    weight: float = Field(default=0.5, ge=0, le=1, description="a: weight of the keywords")
    threshold: float = Field(default=0.1, ge=-1, le=1, description="sum that a route needs")

    def run(self, query: str, *, embedder: Embedder) -> str:
        """The route; the default for an empty query."""
        if not query.strip():
            return self.default or next(iter(self.routes))
        shares = keyword_shares(query, self.routes)
        cosines = utterance_cosines(query, self.routes, embedder)
        scores = {
            route: self.weight * shares[route] + (1 - self.weight) * cosines[route]
            for route in self.routes
        }
        return best_route(scores, self.threshold, self.default)
