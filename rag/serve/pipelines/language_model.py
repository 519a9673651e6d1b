"""The language model of a pipeline by itself: it is asked, and nothing is searched."""

from __future__ import annotations

from rag.flow import Flow, Input, RunContext
from rag.models import LLM, Generation, Sampling
from rag.operators.answering import AnswerOperator
from rag.operators.history import History
from rag.operators.model_call import ModelCall
from rag.operators.prompting import fit_prompt, limit
from rag.serve.pipelines.pipeline import Pipeline

TOKENS = 512
"""Of a small model's answer, where the request has no limit of its own."""


class Converse(AnswerOperator):
    """Continues a conversation, with no instruction but the client's own."""

    writes = ("answer", "generation")

    system: str | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    async def run(
        self, query: str, history: History, *, llm: LLM, ctx: RunContext
    ) -> tuple[str, Generation]:
        """The answer, and how it was generated."""
        call = ModelCall(llm, ctx)
        tokens = limit(call, self.max_tokens, TOKENS)
        prompt = fit_prompt(call, self.system or "", query, (), tokens, history=history)
        done = await call.stream(
            prompt, Sampling(max_tokens=tokens, stop=self.stop, **self.sampling)
        )
        return done.text.strip(), done


def language_model(pipeline: Pipeline, name: str) -> Pipeline | None:
    """A pipeline that asks the language model of another one, and shares it.

    Args:
        pipeline: Whose model it is, the first if there are several.
        name: What it is called.

    Returns:
        None if the pipeline has none.
    """
    flow = pipeline.flow
    models = [resource for _, resource, kind in flow.needs if issubclass(kind, LLM)]
    if not models:
        return None
    bare = Flow(
        Converse(resources={"llm": models[0]}),
        name=name,
        inputs={"query": str, "history": Input(History, [])},
        resources=flow.resources,
        description="the language model by itself",
    )
    return Pipeline(name, bare)
