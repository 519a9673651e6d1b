"""Routing by a language model."""

from __future__ import annotations

from pydantic import Field

from rag.flow import Operator, RunContext
from rag.models import LLM
from rag.models.choice import CHOICE_TOKENS
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit, prompt_field
from rag.operators.routing import Default


class RouteLLM(Operator):
    """Lets the model choose the route by its description.

    Modular RAG's semantic routing by a model (arXiv 2407.21059, section IV-F-1), for routes that
    need understanding; the result is always one of them, or the default. LLM calls: 1.
    Reads `query`; writes `route`.
    Example: `{use: route_llm, routes: {facts: a question about facts, chat: small talk}}`
    """

    writes = "route"
    span_kind = "LLM"

    routes: dict[str, str] = Field(min_length=1, description="route to what questions take it")
    default: Default = None
    system: str | None = prompt_field("route_llm")

    async def run(self, query: str, *, llm: LLM, ctx: RunContext) -> str:
        """The route; the default, with a warning, if the model names none."""
        options = list(self.routes)
        default = self.default or options[0]
        if not query.strip():
            return default
        call = ModelCall(llm, ctx)
        listed = "\n".join(f"- {route}: {what}" for route, what in self.routes.items())
        system = self.system or call.texts["route_llm"].text
        room = limit(call, None, CHOICE_TOKENS)
        prompt = fit_prompt(call, "", query, (), room, then=f"{system}\n{listed}")
        known = default if default in options else options[0]
        choice = await call.choose(prompt, options, default=known)
        if not choice.certain:
            ctx.warn(f"the model named none of the routes: {default!r} is taken")
            return default
        return choice.option
