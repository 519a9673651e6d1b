"""LangChain's client."""

import asyncio

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from report import ANSWER, KEY, QUESTION, V1, opens, report

SETTINGS = {"base_url": V1, "api_key": KEY, "model": "locks"}
chat = ChatOpenAI(**SETTINGS)


def invoke() -> None:
    message = chat.invoke(QUESTION)
    assert message.content.startswith(ANSWER)
    assert message.usage_metadata is not None


def stream() -> None:
    assert "".join(part.text for part in chat.stream(QUESTION)).startswith(ANSWER)


def batch() -> None:
    assert all(one.content.startswith(ANSWER) for one in chat.batch([QUESTION] * 3))


def ainvoke() -> None:
    assert asyncio.run(chat.ainvoke(QUESTION)).content.startswith(ANSWER)


def responses_with_citations() -> None:
    message = ChatOpenAI(**SETTINGS, use_responses_api=True).invoke(QUESTION)
    assert message.text.startswith(ANSWER)
    (note, *_) = message.content_blocks[0]["annotations"]
    assert note["type"] == "citation"
    opens(note["url"])


def responses_stream_and_history() -> None:
    model = ChatOpenAI(**SETTINGS, use_responses_api=True)
    said = [
        ("system", "Be brief."),
        ("user", "Hello."),
        ("assistant", "Good day."),
        ("user", QUESTION),
    ]
    assert "stand on the shelf" in "".join(part.text for part in model.stream(said))


def responses_continued() -> None:
    model = ChatOpenAI(**SETTINGS, use_previous_response_id=True, use_responses_api=True)
    first = model.invoke(QUESTION)
    second = model.invoke([("user", QUESTION), first, ("user", QUESTION)])
    assert "stand on the shelf" in second.text


def embeddings() -> None:
    made = OpenAIEmbeddings(**SETTINGS, check_embedding_ctx_length=False)
    assert len(made.embed_documents(["one", "two"])) == 2


report(
    "LangChain `ChatOpenAI`",
    "langchain-openai",
    invoke,
    stream,
    batch,
    ainvoke,
    responses_with_citations,
    responses_stream_and_history,
    responses_continued,
    embeddings,
)
