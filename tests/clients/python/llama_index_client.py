"""LlamaIndex's client for servers like OpenAI's."""

import asyncio

from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from report import ANSWER, KEY, QUESTION, V1, report

llm = OpenAILike(
    model="locks", api_base=V1, api_key=KEY, is_chat_model=True, context_window=8000, max_retries=0
)
MESSAGES = [ChatMessage(role="user", content=QUESTION)]


def chat() -> None:
    assert llm.chat(MESSAGES).message.content.startswith(ANSWER)


def complete() -> None:
    assert llm.complete(QUESTION).text.startswith(ANSWER)


def stream_chat() -> None:
    assert "".join(part.delta or "" for part in llm.stream_chat(MESSAGES)).startswith(ANSWER)


def achat() -> None:
    answer = asyncio.run(llm.achat(MESSAGES))
    assert answer.message.content.startswith(ANSWER)


def embeddings() -> None:
    model = OpenAILikeEmbedding(model_name="locks", api_base=V1, api_key=KEY)
    assert len(model.get_text_embedding("one")) > 100


report(
    "LlamaIndex `OpenAILike`",
    "llama-index-llms-openai-like",
    chat,
    complete,
    stream_chat,
    achat,
    embeddings,
)
