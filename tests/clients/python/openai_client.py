"""OpenAI's own client."""

import asyncio

import openai
from report import ANSWER, KEY, QUESTION, V1, error_of, opens, report

MESSAGES = [{"role": "user", "content": QUESTION}]
client = openai.OpenAI(base_url=V1, api_key=KEY, max_retries=0)


def chat() -> None:
    done = client.chat.completions.create(model="locks", messages=MESSAGES)
    message = done.choices[0].message
    assert message.content.startswith(ANSWER)
    assert done.usage.total_tokens >= 0
    opens(message.annotations[0].url_citation.url)


def chat_stream() -> None:
    with client.chat.completions.stream(model="locks", messages=MESSAGES) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content.startswith(ANSWER)


def async_chat() -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=V1, api_key=KEY) as other:
            done = await other.chat.completions.create(model="locks", messages=MESSAGES)
            stream = await other.chat.completions.create(
                model="locks", messages=MESSAGES, stream=True
            )
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            assert "".join(parts).startswith(ANSWER)
            return done.choices[0].message.content

    assert asyncio.run(ask()).startswith(ANSWER)


def responses() -> None:
    first = client.responses.create(model="locks", input=QUESTION)
    assert first.output_text.startswith(ANSWER)
    (note,) = first.output[0].content[0].annotations[:1]
    opens(note.url)
    second = client.responses.create(model="locks", input=QUESTION, previous_response_id=first.id)
    assert second.previous_response_id == first.id


def responses_stream() -> None:
    with client.responses.stream(model="locks", input=QUESTION) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert "response.output_text.annotation.added" in kinds
    assert final.output_text.startswith(ANSWER)


def embeddings() -> None:
    made = client.embeddings.create(model="locks", input=["one", "two"])
    assert len(made.data) == 2
    assert len(made.data[0].embedding) > 100


def models() -> None:
    assert {"locks", "reader", "reader:llm"} <= {one.id for one in client.models.list()}


def title_by_the_language_model() -> None:
    done = client.chat.completions.create(
        model="reader:llm", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
    )
    assert done.model_extra["rag"]["sources"] == []


def errors() -> None:
    for call in (
        lambda: client.chat.completions.create(model="none", messages=MESSAGES),
        lambda: client.responses.create(model="none", input=QUESTION),
        lambda: client.embeddings.create(model="none", input="x"),
        lambda: client.models.retrieve("none"),
    ):
        missing = error_of(openai.NotFoundError, call)
        assert missing.code == "model_not_found"
        assert "locks" in missing.message
    other = client.with_options(api_key="wrong")
    assert "key" in error_of(openai.AuthenticationError, other.models.list).message


report(
    "openai (Python)",
    "openai",
    chat,
    chat_stream,
    async_chat,
    responses,
    responses_stream,
    embeddings,
    models,
    title_by_the_language_model,
    errors,
)
