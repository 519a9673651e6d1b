"""OpenAI's embeddings: vectors by the embedder of a pipeline."""

import asyncio
import base64
from contextlib import closing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from rag.serve.answering.answering import Answering
from rag.serve.errors import Problem
from rag.serve.http.authentication import asks
from rag.serve.http.openai.errors import ERRORS, respond, unsupported
from rag.serve.http.route import Endpoints
from rag.serve.identity.identity import Identity
from rag.serve.observe.audit import audit
from rag.serve.pipelines.pipeline import Pipelines


class EmbeddingsBody(BaseModel):
    """Texts to be embedded, as OpenAI's API has them."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="the name of a pipeline, whose embedder it is")
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


def routes(shared: Endpoints, answering: Answering, pipelines: Pipelines) -> APIRouter:
    """`POST /v1/embeddings`."""
    router = shared.router(prefix="/v1", respond=respond, tags=["openai"], responses=ERRORS)

    @router.post("/embeddings", response_model=dict[str, Any])
    async def embed(
        body: EmbeddingsBody, who: Annotated[Identity, Depends(asks)]
    ) -> dict[str, Any]:
        """Vectors of texts, by the embedder of a pipeline."""
        pipeline = pipelines.named(body.model)
        if not pipeline.indexes and "embedder" not in pipeline.flow.resources.specs:
            raise unsupported(f"embeddings by the pipeline {body.model!r}", "model")
        given = [body.input] if isinstance(body.input, str) else body.input
        texts = [text for text in given if isinstance(text, str)]
        if not texts or len(texts) < len(given):
            raise Problem(
                400, "unsupported", "input other than texts is not supported", where="input",
                fix="send texts (LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)",
            )  # fmt: skip
        if not all(texts):
            raise Problem(400, "empty_input", "a text is empty", where="input", fix="leave it out")
        await answering.limits.request(who)
        with closing(answering.queue.admit(who.user)) as ticket:
            async with ticket:
                embedder = await asyncio.to_thread(answering.flows.embedder, pipeline.flow)
                if body.dimensions not in (None, embedder.dim):
                    raise unsupported(f"dimensions other than {embedder.dim}", "dimensions")
                vectors = await asyncio.to_thread(embedder.embed, texts)
                lengths: list[int] = await asyncio.to_thread(embedder.lengths, texts)
        audit("embed", who.user, pipeline=pipeline.name, texts=len(texts))
        tokens = sum(lengths)
        await answering.limits.used(who, tokens)
        shown = [
            base64.b64encode(one.tobytes()).decode()
            if body.encoding_format == "base64"
            else one.tolist()
            for one in vectors
        ]
        return {
            "object": "list",
            "model": body.model,
            "data": [
                {"object": "embedding", "index": number, "embedding": one}
                for number, one in enumerate(shown)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    return router
