"""Sources and language models, as clients of OpenAI's API get them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rag import Flow
from rag.models import LLM, Embedder
from rag.operators import BM25, Cite, Generate
from rag.serve import Settings, app
from rag.serve.identity.keys import KeyFile
from tests.serve.conftest import TEXTS, local, running, say, toy

QUESTION: Any = [{"role": "user", "content": "Who may open the north lock?"}]


def flow(library: Path, embedder: Embedder) -> Flow:
    return Flow(
        BM25(k=2) >> say() >> Cite(),
        name="lock book",
        resources={"index": str(library), "embedder": embedder},
    )


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    return file, KeyFile(file).add("ann")


@pytest.fixture(scope="module")
def keyed(
    tmp_path_factory: pytest.TempPathFactory,
    library: Path,
    embedder: Embedder,
    key: tuple[Path, str],
) -> Iterator[openai.OpenAI]:
    settings = Settings(data=tmp_path_factory.mktemp("keyed") / "data", sources_in_text=True)
    served = app(flow(library, embedder), keys=key[0], settings=settings)
    with (
        running(served) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key=key[1], max_retries=0) as client,
    ):
        yield client


def browser(url: str) -> httpx.Response:
    """What opens where the user follows a link: there is no key."""
    return httpx.get(url)


def test_links_open_without_the_key_that_asked(keyed: openai.OpenAI) -> None:
    done = keyed.chat.completions.create(model="lock book", messages=QUESTION)
    message = done.choices[0].message
    assert message.annotations
    cited = message.annotations[0].url_citation
    assert "/links/" in cited.url
    opened = browser(cited.url)
    assert opened.status_code == 200
    assert opened.text.strip() in (text.strip() for text in TEXTS.values())
    assert done.model_extra is not None
    plain = done.model_extra["rag"]["sources"][0]["link"]
    assert browser(f"{keyed.base_url}".replace("/v1/", f"/{plain}")).status_code == 401
    assert message.content is not None
    answer, below = message.content.split("\n\nSources:\n")
    assert "[1]" in answer
    assert below.splitlines()[0] == f"- [1] {cited_place(done)}: {cited.url}"
    assert cited.end_index <= len(answer)


def cited_place(done: Any) -> str:
    return str(done.model_extra["rag"]["sources"][0]["place"])


def test_a_stream_has_the_same_and_events_for_open_webui(keyed: openai.OpenAI) -> None:
    chunks = list(keyed.chat.completions.create(model="lock book", messages=QUESTION, stream=True))
    extras = [chunk.model_extra or {} for chunk in chunks]
    events = [extra["event"] for extra in extras if "event" in extra]
    (notes,) = (
        delta.model_extra["annotations"]
        for chunk in chunks
        if (delta := chunk.choices[0].delta).model_extra and "annotations" in delta.model_extra
    )
    sources = extras[-1]["rag"]["sources"]
    assert [one["data"]["document"] for one in events] == [[one["text"]] for one in sources]
    assert {one["type"] for one in events} == {"source"}
    urls = [one["data"]["source"]["url"] for one in events]
    assert [one["data"]["metadata"][0]["source"] for one in events] == urls
    assert notes[0]["url_citation"]["url"] in urls
    assert all(browser(url).status_code == 200 for url in urls)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "\n\nSources:\n- [1] " in text


def test_one_user_needs_no_signature(tmp_path: Path, library: Path, embedder: Embedder) -> None:
    settings = Settings(data=tmp_path / "data", public_url="http://rag.example/base/")
    with (
        running(local(flow(library, embedder), settings=settings)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        done = client.chat.completions.create(model="lock book", messages=QUESTION)
        notes = done.choices[0].message.annotations
        assert notes
        assert done.model_extra is not None
        source = done.model_extra["rag"]["sources"][0]
        assert notes[0].url_citation.url == f"http://rag.example/base/{source['link']}"
        assert "Sources:" not in (done.choices[0].message.content or "")


def test_the_language_model_alone(
    tmp_path: Path, llm: LLM, library: Path, embedder: Embedder
) -> None:
    resources = {"index": str(library), "embedder": embedder, "llm": llm}
    real = Flow(BM25(k=1) >> Generate(max_tokens=8) >> Cite(), name="real", resources=resources)
    title: Any = [{"role": "user", "content": "Reply with a title of three words.\n" + "x " * 100}]
    settings = Settings(data=tmp_path / "data", max_question=80)
    with (
        running(local({"real": real, "toy": toy()}, settings=settings)) as at,
        openai.OpenAI(base_url=f"{at}/v1", api_key="none", max_retries=0) as client,
    ):
        assert [one.id for one in client.models.list()] == ["real", "toy", "real:llm"]
        assert client.models.retrieve("real:llm").id == "real:llm"
        with pytest.raises(openai.UnprocessableEntityError, match="the limit is 80"):
            client.chat.completions.create(model="real", messages=title)
        done = client.chat.completions.create(
            model="real:llm",
            messages=[
                {"role": "system", "content": "Answer with one word."},
                {"role": "user", "content": "What is the colour of grass?"},
                {"role": "assistant", "content": "Green."},
                *title,
            ],
            max_tokens=6,
        )
        assert done.choices[0].message.content
        assert done.usage is not None
        assert done.usage.completion_tokens <= 6
        assert done.model_extra is not None
        assert done.model_extra["rag"]["sources"] == []
        run = httpx.get(f"{at}/runs/{done.model_extra['rag']['run']}").json()
        assert [step["node"] for step in run["steps"]] == ["converse"]
        assert "real:llm" not in json.dumps(httpx.get(f"{at}/pipelines").json())


@pytest.mark.parametrize("stranger", [True, False])
def test_who_gets_no_language_model(tmp_path: Path, llm: LLM, stranger: bool) -> None:
    bare = Flow(Generate(), name="bare", resources={"llm": llm})
    settings = Settings(data=tmp_path / "data", language_models=stranger)
    served = app(bare, settings=settings) if stranger else local(bare, settings=settings)
    with (
        running(served) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        assert [one.id for one in client.models.list()] == ["bare"]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="bare:llm", messages=QUESTION)
