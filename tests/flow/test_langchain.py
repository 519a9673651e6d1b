"""LangChain's retrievers, tools, models and chains as steps, and flows as runnables."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from rag import Flow, as_step
from rag.errors import BuildError, ConfigError
from tests.flow.bricks import answer, inc, speak


class Shelf(BaseRetriever):
    """Finds the books whose text holds the query."""

    books: list[str]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(page_content=book) for book in self.books if query in book]


@tool
def multiply(x: int, factor: int = 3) -> int:
    """Multiply."""
    return x * factor


def test_a_retriever_reads_the_query_and_writes_documents() -> None:
    flow = Flow(as_step(Shelf(books=["a lock", "a bridge"])) >> answer())
    assert flow.invoke(query="lock")["answer"] == "lock: a lock"


def test_a_tool_reads_its_arguments() -> None:
    assert Flow(as_step(multiply), inputs={"x": int}).invoke(x=2)["multiply"] == 6
    given = Flow(as_step(multiply, writes="y"), inputs={"x": int, "factor": int})
    assert given.invoke(x=2, factor=5)["y"] == 10


def test_a_chain_reads_the_channels_that_are_named() -> None:
    prompt = ChatPromptTemplate.from_template("{query} with {context}")
    chain = prompt | FakeListChatModel(responses=["the answer"]) | StrOutputParser()
    step = as_step(chain, reads=("query", "context"), writes="answer", gives=str, name="chain")
    flow = Flow(step, inputs={"query": str, "context": str})
    assert flow.invoke(query="q", context="c")["answer"] == "the answer"
    assert asyncio.run(flow.ainvoke(query="q", context="c"))["answer"] == "the answer"


def test_its_types_are_checked_like_any_others() -> None:
    step = as_step(RunnableLambda(len), reads={"answer": str}, writes="x", gives=int)
    assert Flow(speak() >> step >> inc()).invoke(query="four")["x"] == 5
    with pytest.raises(BuildError, match=r"'query' is int .*str is wanted"):
        Flow(as_step(Shelf(books=[])), inputs={"query": int})


def test_channels_that_cannot_be_told_are_asked_for() -> None:
    with pytest.raises(ConfigError, match="which channels"):
        as_step(RunnableLambda(len))


def test_what_was_made_of_an_object_has_no_name_in_pipeline_files() -> None:
    with pytest.raises(ConfigError, match="no name that a pipeline file could use"):
        Flow(as_step(Shelf(books=[]))).to_yaml()


def test_a_flow_is_a_runnable_in_a_chain() -> None:
    flow = Flow(inc(), inputs={"x": int})
    chain: Any = RunnableLambda(lambda x: {"x": x}) | flow.as_runnable()
    assert chain.invoke(1) == {"x": 2}
    assert chain.batch([1, 2]) == [{"x": 2}, {"x": 3}]
    assert asyncio.run(chain.ainvoke(5)) == {"x": 6}
