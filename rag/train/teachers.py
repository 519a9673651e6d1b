"""Teachers: what says how much better one text answers a question than another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.documents import Document

from rag.flow import Flow
from rag.models import LLM, CrossEncoder, Embedder
from rag.operators import CrossRerank, PointwiseRerank, Rerank
from rag.operators.scores import score_of

RERANK, LIKELIHOOD = "rerank", "likelihood:"
Teacher = Callable[[str, Sequence[Document]], dict[str, float]]
"""From a question and documents with ids to the score of each by its id."""


def teacher_of(name: str, embedder: Embedder) -> Teacher:
    """The teacher of a name.

    Args:
        name: `rerank`: the operator of that name. `likelihood:MODEL`: the mean log-probability of
            the question after the text (UPR, Sachan et al. 2022, arXiv 2204.07496). Anything
            else is a cross-encoder, as a pipeline names it.
        embedder: Of `rerank`.

    Raises:
        ModelError: There is no such model, or it scores no texts.
    """
    step: Any
    resources: dict[str, Any]
    if name == RERANK:
        step, resources = Rerank, {"embedder": embedder}
        how = {}
    elif name.startswith(LIKELIHOOD):
        llm = LLM.load(name.removeprefix(LIKELIHOOD))
        step, resources, how = PointwiseRerank, {"llm": llm}, {"by": "question"}
    else:
        step, resources, how = CrossRerank, {"reranker": CrossEncoder.load(name)}, {}

    def scores(question: str, documents: Sequence[Document]) -> dict[str, float]:
        count = max(len(documents), 1)
        flow = Flow(
            step(k=count, depth=count, **how),
            inputs={"query": str, "documents": list[Document]}, resources=resources,
        )  # fmt: skip
        found = flow.invoke(query=question, documents=list(documents))["documents"]
        return {str(one.id): score_of(one) or 0.0 for one in found}

    return scores
