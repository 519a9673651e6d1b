"""Chat completions, by OpenAI's own client and by LangChain's."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from langchain_openai import ChatOpenAI

from rag import Flow, operator
from rag.models import Embedder
from rag.operators import BM25
from rag.serve import Settings, app
from rag.serve.identity.keys import KeyFile
from tests.serve.conftest import Doors, local, running, toy
from tests.serve.waiting import until


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running(local(toy(), settings=Settings(data=tmp_path / "data"))) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as found:
        yield found


def say(text: str) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["toy"]
    assert client.models.retrieve("toy").owned_by == "rag"
    with pytest.raises(openai.NotFoundError, match="there are: toy"):
        client.models.retrieve("other")


def test_a_completion(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="toy", messages=say("Books"))
    (choice,) = done.choices
    assert choice.message.content == "Books stand on the shelf [1]."
    assert choice.finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert choice.message.annotations is not None
    (note,) = choice.message.annotations
    mark = choice.message.content[note.url_citation.start_index : note.url_citation.end_index]
    assert (mark, note.url_citation.title) == ("[1]", "The shelf")
    assert done.model_extra is not None
    assert done.model_extra["rag"]["sources"][0]["place"] == "shelf.md"


def test_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="toy", messages=say("Maps"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.startswith("Maps stand on the shelf.")
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert not chunks[-1].choices


def test_settings_reach_the_step(client: openai.OpenAI) -> None:
    def content(**settings: int) -> str | None:
        done = client.chat.completions.create(model="toy", messages=say("Pens"), **settings)  # type: ignore[call-overload]
        text: str | None = done.choices[0].message.content
        return text

    seeded = content(seed=7)
    assert seeded is not None
    assert "shelf 7" in seeded
    assert content(max_tokens=2) == "Pens stand [1]"
    # What no step takes has no effect, as with OpenAI's own API.
    assert content(top_p=1, temperature=2) == content()


def test_top_p_reaches_the_step(tmp_path: Path) -> None:
    @operator(writes="answer")
    def share(query: str, *, top_p: float = 1.0) -> str:
        """Answer with the setting."""
        return f"top_p is {top_p}"

    flow = Flow(share(), name="toy")
    with (
        running(local(flow, settings=Settings(data=tmp_path / "data"))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client,
    ):
        done = client.chat.completions.create(model="toy", messages=say("x"), top_p=0.25)
        assert done.choices[0].message.content == "top_p is 0.25"


@pytest.mark.parametrize("wrong", [{"n": 2}, {"tools": [{}]}, {"logprobs": True}])
def test_what_there_is_not_is_refused(client: openai.OpenAI, wrong: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="toy", messages=say("x"), extra_body=wrong)
    assert refused.value.code == "unsupported"
    assert refused.value.param in wrong


def test_errors_are_openais(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt", messages=say("x"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError, match="start it"):
        client.chat.completions.create(model="toy", messages=say("unreachable"))
    with pytest.raises(openai.APIError, match="start it"):
        list(client.chat.completions.create(model="toy", messages=say("unreachable"), stream=True))


def test_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = KeyFile(keys).add("reader")
    served = app(toy(), keys=keys, settings=Settings(data=tmp_path / "data"))
    with running(served) as address:
        for given, good in ((key, True), ("rag_wrong", False)):
            with openai.OpenAI(base_url=f"{address}/v1", api_key=given) as client:
                if good:
                    assert client.models.list().data
                else:
                    with pytest.raises(openai.AuthenticationError):
                        client.models.list()


def test_closing_a_stream_cancels_the_run(
    client: openai.OpenAI, doors: Doors, address: str
) -> None:
    doors.shut()
    stream = client.chat.completions.create(model="toy", messages=say("Gone"), stream=True)
    next(iter(stream))
    until(lambda: doors.entered == ["Gone"])
    stream.close()
    until(lambda: bool(doors.cancelled))


def test_langchain(address: str) -> None:
    chat = ChatOpenAI(base_url=f"{address}/v1", api_key="none", model="toy")  # type: ignore[arg-type]
    assert chat.invoke("Books").content == "Books stand on the shelf [1]."
    assert "".join(str(c.content) for c in chat.stream("Books")).startswith("Books stand")


def test_the_real_models(tmp_path: Path, real: Flow) -> None:
    with (
        running(local(real, settings=Settings(data=tmp_path / "data"))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client,
    ):
        question = say("How long does a full passage of the north lock take?")
        completions = [
            client.chat.completions.create(
                model="real", messages=question, max_tokens=12, temperature=1.0, seed=seed
            )
            for seed in (3, 3)
        ]
        texts = [one.choices[0].message.content for one in completions]
        assert texts[0] == texts[1]
        assert completions[0].usage is not None
        assert 0 < completions[0].usage.completion_tokens <= 12
        cut = client.chat.completions.create(
            model="real", messages=question, max_tokens=12, stop=[" "]
        )
        assert " " not in (cut.choices[0].message.content or "").split(" [")[0]


def test_embeddings(tmp_path: Path, embedder: Embedder) -> None:
    resources = {"index": str(tmp_path / "index"), "embedder": embedder}
    flow = Flow(BM25(), name="locks", resources=resources)
    served = local({"locks": flow, "toy": toy()}, settings=Settings(data=tmp_path / "data"))
    texts = ["Who may open the north lock?", "A ferry."]
    expected = embedder.embed(texts)
    with (
        running(served) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        for encoding in ("float", "base64"):
            made = client.embeddings.create(model="locks", input=texts, encoding_format=encoding)  # type: ignore[arg-type]
            assert [one.index for one in made.data] == [0, 1]
            for one, vector in zip(made.data, expected, strict=True):
                shown = one.embedding
                if isinstance(shown, str):
                    shown = np.frombuffer(base64.b64decode(shown), np.float32).tolist()
                assert np.allclose(shown, vector, atol=1e-6)
            assert made.usage.prompt_tokens == sum(embedder.lengths(texts))
        single = client.embeddings.create(model="locks", input=texts[1])
        assert np.allclose(single.data[0].embedding, expected[1], atol=1e-6)
        for wrong in (
            {"model": "toy", "input": "x"},
            {"model": "locks", "input": [1, 2]},
            {"model": "locks", "input": []},
            {"model": "locks", "input": ["x", ""]},
            {"model": "locks", "input": "x", "dimensions": 3},
        ):
            with pytest.raises(openai.BadRequestError):
                client.embeddings.create(**wrong)  # type: ignore[arg-type]


def test_what_is_not_offered_is_an_error_of_openais(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="chat/completions"):
        client.completions.create(model="toy", prompt="x")
    with pytest.raises(openai.NotFoundError, match="chat/completions"):
        client.responses.cancel("resp_1")
    for method, status in (("GET", 405), ("POST", 404)):
        path = "chat/completions" if status == 405 else "nothing/there"
        refused = httpx.request(method, f"{client.base_url}{path}")
        assert refused.status_code == status
        assert refused.json()["error"]["type"] in ("invalid_request_error", "not_found_error")
