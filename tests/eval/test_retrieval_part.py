"""The part of a pipeline that is ranked: up to the first model, in whatever construct it stands."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document

from rag import Loop, Map, Operator, Parallel, Route, operator
from rag.errors import ConfigError
from rag.eval.retrieval_part import retrieval_part
from rag.flow import Flow, load_flow
from rag.flow.node import walk
from rag.models import LLM
from rag.operators import (
    BM25,
    RRF,
    Dense,
    Generate,
    HyDE,
    RankAnswers,
    Rerank,
    Rewrite,
    SelectSentences,
)
from rag.pipelines import names, path


def steps(flow: Flow) -> list[str]:
    return [one.label for _, one in walk(retrieval_part(flow).node) if isinstance(one, Operator)]


@operator(writes="queries")
def halves(query: str) -> list[str]:
    """The question in two parts."""
    return [query[: len(query) // 2], query[len(query) // 2 :]]


@operator(writes="kind")
def kind(query: str) -> str:
    """The kind of question."""
    return "long" if len(query) > 20 else "short"


@operator(writes="documents")
def texts(query: str) -> list[Document]:
    """Find texts."""
    return [Document(page_content=query, metadata={"source": query})]


LEADS = {
    "adaptive", "agent", "answer_cache", "hyde", "multi_query", "rewrite_retrieve_rerank_read",
    "search_o1", "self_rag", "step_back",
}  # fmt: skip
LEADS = {
    "adaptive", "agent", "answer_cache", "hyde", "multi_query", "rewrite_retrieve_rerank_read",
    "search_o1", "self_rag", "step_back",
}  # fmt: skip
"""Ready-made pipelines that ask a model before they find anything, or search inside a step."""


@pytest.mark.parametrize("name", names())
def test_no_ready_made_pipeline_asks_a_model_while_it_is_ranked(name: str) -> None:
    flow = load_flow(path(name))
    if name in LEADS:
        with pytest.raises(ConfigError, match=r"before (its|the) first LLM call"):
            retrieval_part(flow)
        return
    part = retrieval_part(flow)
    taken = [
        p.type for _, n in part.walk() if isinstance(n, Operator) for p in n.signature().resources
    ]
    assert not any(issubclass(one, LLM) for one in taken)
    assert not any(isinstance(node, SelectSentences) for _, node in part.walk())


def test_of_a_loop_it_is_the_first_turn() -> None:
    flow = load_flow(path("iter_retgen"))
    assert steps(flow) == ["extend_query", "dense", "rerank"]
    loop = retrieval_part(flow).node
    assert isinstance(loop, Loop)
    assert (loop.max_turns, loop.history) == (1, "turns")


def test_a_loop_without_a_model_stays_whole() -> None:
    loop = Loop(BM25() >> Rerank(), max_turns=2)
    assert retrieval_part(Flow(loop >> Generate())).node == loop


def test_of_branches_it_is_each_up_to_the_model() -> None:
    branches = Parallel(a=BM25() >> SelectSentences(), b=Dense() >> SelectSentences(), join=RRF())
    assert steps(Flow(branches >> Rerank() >> Generate())) == ["bm25", "dense", "rrf"]


def test_of_a_fusion_it_is_not_the_half() -> None:
    branches = Parallel(words=BM25(), meaning=HyDE() >> Dense(), join=RRF())
    with pytest.raises(ConfigError, match="retrieves no documents"):
        retrieval_part(Flow(branches >> Generate()))
    assert steps(Flow(Dense() >> branches >> Generate())) == ["dense"]


def test_branches_that_write_answers_are_left_out() -> None:
    answers = Parallel(a=Rerank() >> Generate(), b=Generate(), join=RankAnswers())
    assert steps(Flow(Dense() >> answers)) == ["dense"]


def test_of_a_map_it_is_the_body_up_to_the_model() -> None:
    body = BM25() >> SelectSentences() >> Generate()
    joined = Map(over="queries", as_="query", body=body, join=RRF())
    assert steps(Flow(halves() >> joined)) == ["halves", "bm25", "rrf"]
    with pytest.raises(ConfigError, match="retrieves no documents"):
        retrieval_part(Flow(halves() >> Map(over="queries", as_="query", body=body)))


def test_of_a_route_it_is_each_case_up_to_the_model() -> None:
    cases = {"short": BM25() >> Generate()}
    route = Route(kind(), cases, default=Dense() >> Rerank() >> Generate())
    assert steps(Flow(route)) == ["kind", "bm25", "dense", "rerank"]
    asking = Route(kind(), {"short": BM25()}, default=Rewrite() >> Dense())
    with pytest.raises(ConfigError, match="retrieves no documents"):
        retrieval_part(Flow(asking >> Generate()))


def test_of_an_inner_flow_it_is_what_comes_before_its_model() -> None:
    inner = Flow(Dense() >> Generate(), inputs={"query": str}, outputs=["answer", "documents"]).at(
        outputs={"answer": "draft"}
    )
    assert steps(Flow(inner >> Generate())) == ["dense"]


def test_it_runs() -> None:
    loop = Loop(texts() >> Generate(), max_turns=3)
    (found,) = retrieval_part(Flow(loop)).invoke(query="north lock")["documents"]
    assert found.page_content == "north lock"
