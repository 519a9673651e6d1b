"""Routing by keywords."""

from __future__ import annotations

import sys

from pydantic import Field

from rag.flow import Operator
from rag.operators.routing import Default, Routes, best_route, keyword_shares


class RouteByMetadata(Operator):
    """Takes the route most of whose keywords are in the question.

    Modular RAG's metadata routing (arXiv 2407.21059, section IV-F-1), for questions that name
    products, places or departments. No LLM call.
    Reads `query`; writes `route`.
    Example: `{use: route_by_metadata, routes: {locks: [lock, gate], pumps: [pump]}}`
    """

    writes = "route"
    light = True

    routes: Routes = Field(description="route to its keywords")
    default: Default = None

    def run(self, query: str) -> str:
        """The route; the first one of a tie."""
        return best_route(keyword_shares(query, self.routes), sys.float_info.min, self.default)
