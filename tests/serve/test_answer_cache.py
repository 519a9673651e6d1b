"""Answers given again, through the server: streamed, to OpenAI's clients, by user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_core.documents import Document

from rag.flow import Flow
from rag.index import IndexWriter
from rag.index.binding import SHARED
from rag.operators import AnswerCache
from rag.serve import Settings, app, single_user
from rag.serve.identity.keys import KeyFile
from rag.serve.pipelines.indexes import collection_of
from rag.testing.encoders import ScriptedEmbedder
from rag.testing.llm import ScriptedLLM
from tests.serve.conftest import running, sent

STEPS: dict[str, Any] = {"steps": [{"use": "bm25", "k": 2}, {"use": "generate"}, {"use": "cite"}]}
FIRST = "When does the north lock open?"
AGAIN = "At what time does the north lock open?"
TEXT = "The north lock opens at six."
CITED = "The north lock opens at six [1]."


class House:
    """A flow with a cache of answers, over an index of one text for each collection."""

    def __init__(self, folder: Path, answer: str = TEXT) -> None:
        self.folder = folder
        self.embedder = ScriptedEmbedder(dim=2, vectors={FIRST: [1.0, 0.0], AGAIN: [1.0, 0.01]})
        self.llm = ScriptedLLM({"generate": answer})
        self.flow = Flow(
            AnswerCache(otherwise=STEPS),
            name="asked-before",
            resources={
                "index": str(folder / "index"), "embedder": self.embedder, "llm": self.llm,
                "answers": {"path": str(folder / "answers.sqlite")},
            },
        )  # fmt: skip

    def fill(self, collection: str = SHARED) -> None:
        document = Document(page_content=TEXT, metadata={"source": "locks", "path": "locks.md"})
        where = collection_of(self.flow, collection, "index")
        IndexWriter(where).write([document], self.embedder)

    @contextmanager
    def served(self, keys: Path | None = None) -> Iterator[str]:
        settings = Settings(data=self.folder / "data")
        who = None if keys else single_user
        with running(app(self.flow, identity=who, keys=keys, settings=settings)) as address:
            yield address


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    made.fill()
    return made


def streamed(http: httpx.Client, query: str) -> tuple[list[str], dict[str, Any]]:
    """The tokens of the answer, and the result."""
    events = sent(http.post("/ask", json={"query": query, "stream": True}).text)
    name, done = events[-1]
    assert name == "done"
    tokens = [data for name, data in events if name == "token"]
    assert all(token["answer"] for token in tokens)
    return [token["text"] for token in tokens], done


def test_a_first_answer_comes_token_by_token_and_a_cached_one_as_one(
    house: House, client: Any
) -> None:
    with house.served() as address:
        tokens, first = streamed(client(address), FIRST)
        assert len(tokens) > 3
        assert "".join(tokens) == TEXT
        assert (first["answer"], first["outputs"]["cached"]) == (CITED, {})
        tokens, again = streamed(client(address), AGAIN)
    assert tokens == [again["answer"]] == [CITED]
    assert again["outputs"]["cached"]["question"] == FIRST
    assert again["sources"] == first["sources"]
    assert [source["cited"] for source in again["sources"]] == [True]
    assert len(house.llm.calls) == 1
    assert again["usage"]["llm_calls"] == 0


def test_openais_client_gets_both_alike(house: House) -> None:
    with (
        house.served() as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as asking,
    ):

        def deltas(query: str) -> list[str]:
            chunks = asking.chat.completions.create(
                model="asked-before", messages=[{"role": "user", "content": query}], stream=True
            )
            texts = [one.choices[0].delta.content for one in chunks if one.choices]
            return [text for text in texts if text]

        first, again = deltas(FIRST), deltas(AGAIN)
        assert len(first) > 3
        assert "".join(first) == f"{TEXT} [1]", "the mark comes when it was checked"
        assert again == [CITED]
        done = asking.chat.completions.create(
            model="asked-before", messages=[{"role": "user", "content": AGAIN}]
        )
    message = done.choices[0].message
    assert message.content == CITED
    assert message.annotations
    assert done.choices[0].finish_reason == "stop"
    assert len(house.llm.calls) == 1


def test_no_user_gets_anothers_answer(tmp_path: Path, client: Any) -> None:
    """The same question, model, text and file of answers, and yet each has its own."""
    house, keys = House(tmp_path), tmp_path / "keys.json"
    made = {user: KeyFile(keys).add(user) for user in ("north", "south")}
    for user in made:
        house.fill(user)
    with house.served(keys) as address:
        for calls, key in enumerate(made.values(), start=1):
            http = client(address, headers={"Authorization": f"Bearer {key}"})
            assert streamed(http, FIRST)[1]["outputs"]["cached"] == {}
            assert len(house.llm.calls) == calls
            assert streamed(http, AGAIN)[1]["outputs"]["cached"]["question"] == FIRST
            assert len(house.llm.calls) == calls


@pytest.mark.parametrize("stream", [True, False])
def test_an_abstention_is_labelled_and_asked_again(
    tmp_path: Path, client: Any, stream: bool
) -> None:
    house = House(tmp_path, "The sources do not say.")
    house.fill()
    with house.served() as address:
        http = client(address)
        for calls in (1, 2):
            if stream:
                done = streamed(http, FIRST)[1]
            else:
                done = http.post("/ask", json={"query": FIRST}).json()
            assert (done["abstained"], done["outputs"]["cached"]) == (True, {})
            assert len(house.llm.calls) == calls
