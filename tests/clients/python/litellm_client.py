"""litellm, as a client of a server like OpenAI's."""

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would be fetched otherwise

import litellm
from report import ANSWER, KEY, QUESTION, V1, error_of, opens, report

SETTINGS = {"model": "openai/locks", "api_base": V1, "api_key": KEY}
MESSAGES = [{"role": "user", "content": QUESTION}]


def completion() -> None:
    message = litellm.completion(**SETTINGS, messages=MESSAGES).choices[0].message
    assert message.content.startswith(ANSWER)
    opens(message.annotations[0]["url_citation"]["url"])


def stream() -> None:
    chunks = litellm.completion(**SETTINGS, messages=MESSAGES, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in chunks).startswith(ANSWER)


def acompletion() -> None:
    answer = asyncio.run(litellm.acompletion(**SETTINGS, messages=MESSAGES))
    assert answer.choices[0].message.content.startswith(ANSWER)


def responses() -> None:
    answer = litellm.responses(**SETTINGS, input=QUESTION)
    (part,) = answer.output[0].content
    assert part.text.startswith(ANSWER)


def responses_stream() -> None:
    *_, last = litellm.responses(**SETTINGS, input=QUESTION, stream=True)
    assert last.type == "response.completed"
    assert last.response.output[0].content[0].text.startswith(ANSWER)


def embeddings() -> None:
    made = litellm.embedding(**SETTINGS, input=["one"], encoding_format="float")
    assert len(made.data[0]["embedding"]) > 100


def errors() -> None:
    wrong = {**SETTINGS, "model": "openai/none", "messages": MESSAGES}
    missing = error_of(litellm.NotFoundError, lambda: litellm.completion(**wrong))
    assert "locks" in str(missing)


report(
    "litellm",
    "litellm",
    completion,
    stream,
    acompletion,
    responses,
    responses_stream,
    embeddings,
    errors,
)
