"""Our classes for LangChain's applications, beyond what its standard suites test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from pydantic import BaseModel, Field

from rag.connect.langchain import ChatLLM, EmbedderEmbeddings, FlowRetriever, IndexVectorStore
from rag.connect.langchain.messages import prompt_of
from rag.errors import ConfigError, IndexStateError, InputError, ModelError
from rag.flow import Flow, Input, operator
from rag.index import Index, IndexWriter
from rag.models import LLM, Embedder, Prompt, Sampling

TEXTS = [
    "The north lock may be opened by the keeper on duty.",
    "Pump P-17 lifts 240 litres per second.",
    "Visitors pay four crowns for the boat lift.",
]
DOCUMENTS = [
    Document(text, id=f"d{n}", metadata={"n": n, "source": f"{n}.md"})
    for n, text in enumerate(TEXTS)
]
QUESTION = "What does a ticket cost?"


@pytest.fixture
def store(tmp_path: Path, embedder: Embedder) -> Iterator[IndexVectorStore]:
    store = IndexVectorStore(tmp_path / "index", embedder)
    store.add_documents(DOCUMENTS)
    yield store
    store.close()


def test_importing_them_loads_no_model_library() -> None:
    names = "ChatLLM, EmbedderEmbeddings, FlowRetriever, IndexVectorStore"
    code = (
        "import sys; import rag.connect.langchain\n"
        "assert 'langchain_core' not in sys.modules\n"
        f"from rag.connect.langchain import {names}\n"
        "ChatLLM(); EmbedderEmbeddings()\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'faiss'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'Chat'"):
        import rag.connect.langchain

        _ = rag.connect.langchain.Chat


# The index


def test_documents_come_back_as_they_were_added(store: IndexVectorStore) -> None:
    assert store.get_by_ids(["d2", "none", "d0"]) == [DOCUMENTS[2], DOCUMENTS[0]]
    assert store.similarity_search(QUESTION, k=1) == [DOCUMENTS[2]]
    own = Document("One more.", id="same", metadata={"source": "same"})
    store.add_documents([own, Document("No source.", id="bare")])
    assert store.get_by_ids(["same"]) == [own]
    assert store.get_by_ids(["bare"])[0].metadata == {}


def test_scores_are_cosines(store: IndexVectorStore, embedder: Embedder) -> None:
    vector = embedder.embed_query(QUESTION)
    expected = sorted((float(v @ vector) for v in embedder.embed(TEXTS)), reverse=True)
    scored = store.similarity_search_with_score(QUESTION, k=3)
    assert [score for _, score in scored] == pytest.approx(expected, abs=1e-5)
    assert store.similarity_search_by_vector(vector.tolist(), k=3) == [one for one, _ in scored]
    relevant = store.similarity_search_with_relevance_scores(QUESTION, k=3)
    assert [score for _, score in relevant] == pytest.approx(
        [max(x, 0) for x in expected], abs=1e-5
    )
    opposite = store._select_relevance_score_fn()
    assert (opposite(-0.2), opposite(1.0000001)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"n": {"$gte": 1}}, {1, 2}),
        ({"source": "1.md"}, {1}),
        ({"source": {"$in": ["0.md", "2.md"]}, "n": {"$lt": 2}}, {0}),
        ({"source": {"$ne": "1.md"}}, {0, 2}),
        ({"$or": [{"source": "0.md"}, {"n": 2}]}, {0, 2}),
        ({"source": "d1"}, {1}),
    ],
)
def test_filters_see_metadata_as_they_were_added(
    store: IndexVectorStore, where: dict[str, Any], found: set[int]
) -> None:
    hits = store.similarity_search(QUESTION, k=9, filter=where)
    assert {hit.metadata["n"] for hit in hits} == found


def test_a_wrong_filter_is_an_input_error(store: IndexVectorStore) -> None:
    for where in ({"$or": 3}, {"n": {"$near": 1}}):
        with pytest.raises(InputError):
            store.similarity_search(QUESTION, filter=where)


def test_what_is_stored_already_is_not_embedded_again(
    store: IndexVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    embed = type(store.embedder).embed_both

    def counted(self: Any, texts: Any) -> Any:
        given.extend(texts)
        return embed(self, texts)

    monkeypatch.setattr(type(store.embedder), "embed_both", counted)
    changed = Document(TEXTS[1], id="d1", metadata={"n": 7})
    store.add_documents([DOCUMENTS[0], changed, Document("New.", id="d9")])
    assert given == ["New."]
    assert store.get_by_ids(["d1"]) == [changed]


def test_of_equal_ids_the_last_one_counts(store: IndexVectorStore) -> None:
    assert store.add_texts(["first", "second"], ids=["x", "x"]) == ["x", "x"]
    assert [one.page_content for one in store.get_by_ids(["x"])] == ["second"]
    assert store.add_texts([]) == []
    with pytest.raises(ValueError, match="2 texts, 2 metadata and 1 ids"):
        store.add_texts(["a", "b"], ids=["x"])
    with pytest.raises(ValueError, match="1 texts, 0 metadata"):
        store.add_texts(["a"], [])


def test_some_or_all_can_be_deleted(store: IndexVectorStore) -> None:
    assert store.delete(["d0"])
    assert store.get_by_ids(["d0", "d1"]) == [DOCUMENTS[1]]
    assert store.delete()
    assert store.similarity_search(QUESTION) == []


def test_marginal_relevance_leaves_out_what_repeats(store: IndexVectorStore) -> None:
    twin = Document(f"{TEXTS[2]} Indeed.", id="twin")
    store.add_documents([twin])
    near = {one.id for one in store.similarity_search(QUESTION, k=2)}
    assert near == {"d2", "twin"}
    chosen = store.max_marginal_relevance_search(QUESTION, k=2, lambda_mult=0.1)
    assert len({one.id for one in chosen} & near) == 1
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 0.1})
    assert retriever.invoke(QUESTION) == chosen


def test_it_is_the_index_that_pipelines_search(
    store: IndexVectorStore, embedder: Embedder, tmp_path: Path
) -> None:
    ingested = Document("Children go free.", metadata={"source": "fees.md"})
    IndexWriter(tmp_path / "index").write([ingested], embedder)
    (found,) = store.similarity_search("children", k=1)
    assert found.page_content == ingested.page_content
    assert found.metadata["source"] == "fees.md"
    assert store.get_by_ids([found.id or ""]) == [found]
    with pytest.raises(InputError, match=r"chunk of the ingested fees\.md"):
        store.delete(["d0", found.id or ""])
    assert store.get_by_ids(["d0"]) == [DOCUMENTS[0]]
    index = Index.open(tmp_path / "index")
    hits = index.sparse("keeper", 1)
    index.close()
    assert hits[0].chunk.text == TEXTS[0]
    store.delete(["fees.md"])
    assert store.get_by_ids([found.id or ""]) == [found]


def test_another_embedder_is_refused(store: IndexVectorStore) -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding

    with pytest.raises(IndexStateError, match="was made with"):
        IndexVectorStore(store.address, DeterministicFakeEmbedding(size=8))


def test_it_is_opened_again_by_any_name_of_its_embedder(
    store: IndexVectorStore, embedder: Embedder
) -> None:
    for embedding in (embedder, EmbedderEmbeddings(embedder), Embedder.default):
        again = IndexVectorStore(store.address, embedding)
        assert again.similarity_search(QUESTION, k=1) == [DOCUMENTS[2]]
        again.close()
    made = IndexVectorStore.from_texts(
        ["More."], EmbedderEmbeddings(embedder), ids=["m"], path=store.address
    )
    assert store.get_by_ids(["m"]) == made.get_by_ids(["m"])
    assert made.embeddings.embed_query("x") == EmbedderEmbeddings(embedder).embed_query("x")
    made.close()


def test_threads_may_add_and_search_at_once(store: IndexVectorStore) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            store.add_texts([f"text {number}"], ids=[f"t{number}"])
            store.similarity_search("text", k=3)
        except Exception as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store.get_by_ids([f"t{number}" for number in range(8)])) == 8


# Embeddings


def test_embeddings_are_the_embedders_vectors(embedder: Embedder) -> None:
    embeddings = EmbedderEmbeddings(embedder)
    assert np.allclose(embeddings.embed_documents(TEXTS), embedder.embed(TEXTS))
    assert np.allclose(embeddings.embed_query(QUESTION), embedder.embed_query(QUESTION))
    assert Embedder.load(embeddings) is embedder
    with pytest.raises(ModelError, match="'no-such-model'"):
        EmbedderEmbeddings("no-such-model").embed_query("x")


# Retrievers


@operator(writes="documents")
def numbered(query: str, k: int) -> list[Document]:
    """As many documents as wanted, and two more."""
    return [Document(f"{query} {number}") for number in range(k + 2)]


def test_a_flow_with_an_input_k_gets_it() -> None:
    flow = Flow(numbered(), inputs={"query": str, "k": Input(int, 1)}, outputs=["documents"])
    assert len(FlowRetriever(flow=flow).invoke("q")) == 3
    assert [d.page_content for d in FlowRetriever(flow=flow, k=2).invoke("q")] == ["q 0", "q 1"]
    assert len(asyncio.run(FlowRetriever(flow=flow).ainvoke("q", k=4))) == 4


@pytest.mark.parametrize(
    ("flow", "problem"),
    [
        ("hybrid.yaml", "is no flow"),
        (Flow(numbered(), inputs={"query": str, "k": int}, outputs=["query"]), "to query"),
    ],
)
def test_a_flow_that_retrieves_nothing_is_refused(flow: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        FlowRetriever(flow=flow)


def test_hybrid_retrieval_is_traced_below_the_retriever(
    store: IndexVectorStore, embedder: Embedder
) -> None:
    names: list[tuple[str, bool]] = []

    class Seen(BaseCallbackHandler):
        def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
            names.append((query, kwargs["parent_run_id"] is not None))

        def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
            names.append((kwargs["name"], kwargs["parent_run_id"] is not None))

    retriever = FlowRetriever.hybrid(str(store.address), embedder, k=1)
    (found,) = retriever.invoke("four crowns", {"callbacks": [Seen()]})
    assert found.page_content == TEXTS[2]
    assert names == [("four crowns", False), ("hybrid", True)]
    retriever.close()


# The chat model


def test_a_conversation_is_a_prompt_in_parts() -> None:
    prompt = prompt_of(
        [
            SystemMessage("Be brief."),
            HumanMessage("Hello."),
            AIMessage("Hi."),
            SystemMessage("Be kind."),
            HumanMessage("One thing."),
            HumanMessage(
                [
                    {"type": "text-plain", "text": TEXTS[0], "mime_type": "text/plain"},
                    {"type": "text", "text": "Who?"},
                ]
            ),
        ],
        numbered=False,
    )
    assert prompt == Prompt(
        "One thing.\n\nWho?",
        "Be brief.\n\nBe kind.",
        (TEXTS[0],),
        (("user", "Hello."), ("assistant", "Hi.")),
        numbered=False,
    )


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "last message is missing"),
        ([HumanMessage("a"), AIMessage("b")], "last message is AIMessage"),
        ([ToolMessage("a", tool_call_id="1"), HumanMessage("b")], "ToolMessage has no place"),
        ([HumanMessage([{"type": "image", "url": "http://x/y.png"}])], "block of the type 'image'"),
    ],
)
def test_what_is_no_text_is_refused(messages: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        prompt_of(messages)


def test_it_answers_as_the_model_does(llm: LLM) -> None:
    chat = ChatLLM(model=llm, max_tokens=12)
    done = asyncio.run(llm.generate(Prompt("Name a colour."), Sampling(max_tokens=12)))
    message = chat.invoke("Name a colour.")
    assert message.content == done.text
    assert message.response_metadata["finish_reason"] == done.finish
    assert message.response_metadata["model_name"] == llm.id
    assert message.usage_metadata == {
        "input_tokens": done.prompt_tokens,
        "output_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
    }
    pieces = list(chat.stream("Name a colour."))
    assert len([piece for piece in pieces if piece.content]) > 3
    assert "".join(str(piece.content) for piece in pieces) == done.text
    assert LLM.load(chat) is llm
    assert chat.get_num_tokens("a b") == llm.count("a b")


def test_a_call_may_differ_from_the_fields(llm: LLM) -> None:
    chat = ChatLLM(model=llm, max_tokens=16, temperature=1.5, seed=1)
    first = chat.invoke("Name a colour.").content
    assert chat.invoke("Name a colour.").content == first
    assert chat.bind(seed=2).invoke("Name a colour.").content != first
    short = chat.invoke("Name a colour.", max_tokens=2)
    assert short.usage_metadata is not None
    assert short.usage_metadata["output_tokens"] == 2
    greedy = ChatLLM(model=llm, max_tokens=16)
    whole = str(greedy.invoke("Name a colour.").content)
    word = whole.split()[1]
    before = whole.partition(word)[0]
    assert greedy.invoke("Name a colour.", stop=[word]).content == before
    assert ChatLLM(model=llm, max_tokens=16, stop=[word]).invoke("Name a colour.").content == before
    with pytest.raises(InputError, match="takes no 'model'"):
        chat.invoke("Name a colour.", model="other")


def test_a_reader_that_leaves_stops_the_model(llm: LLM) -> None:
    chat = ChatLLM(model=llm, max_tokens=200)
    pieces = chat.stream("Tell me a long story.")
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert chat.invoke("Hello.", max_tokens=1)


class Fee(BaseModel):
    """A fee."""

    what: str = Field(description="what it is for", max_length=40)
    crowns: int = Field(ge=0, le=9)


def test_answers_as_objects_are_constrained_by_the_schema(llm: LLM) -> None:
    chat = ChatLLM(model=llm, max_tokens=60).with_structured_output(Fee, include_raw=True)
    result = chat.invoke(TEXTS[2])
    assert isinstance(result["parsed"], Fee)
    assert result["parsing_error"] is None
    cut = ChatLLM(model=llm, max_tokens=2).with_structured_output(Fee, include_raw=True)
    result = cut.invoke(TEXTS[2])
    assert result["parsed"] is None
    assert result["parsing_error"] is not None


def test_a_chain_of_ours_streams_and_is_awaited(
    store: IndexVectorStore, embedder: Embedder, llm: LLM
) -> None:
    prompt = ChatPromptTemplate.from_template("{context}\n\n{question}")
    chain: Any = (
        {
            "context": FlowRetriever.hybrid(str(store.address), embedder, k=1)
            | (lambda found: found[0].page_content),
            "question": RunnablePassthrough(),
        }
        | prompt
        | ChatLLM(model=llm, max_tokens=8)
        | StrOutputParser()
    )
    whole = chain.invoke("What does the boat lift cost?")
    assert "".join(chain.stream("What does the boat lift cost?")) == whole
    assert asyncio.run(chain.ainvoke("What does the boat lift cost?")) == whole
    assert chain.batch(["What does the boat lift cost?"] * 3) == [whole] * 3
