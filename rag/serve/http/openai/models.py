"""The pipelines as models of OpenAI's API, their own language models among them."""

import time
from collections.abc import Iterator, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from rag.serve.errors import Problem
from rag.serve.http.authentication import asks
from rag.serve.http.openai.errors import ERRORS, respond
from rag.serve.http.route import Endpoints
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.language_model import language_model
from rag.serve.pipelines.pipeline import Pipeline, Pipelines

SUFFIX = ":llm"
"""Behind a pipeline's name: its language model, without the pipeline."""
ABSENT = (
    "assistants", "audio/speech", "audio/transcriptions", "batches", "completions",
    "conversations", "files", "fine_tuning/jobs", "images/generations", "moderations",
    "responses/{response}/cancel", "threads", "vector_stores",
)  # fmt: skip
"""Endpoints of OpenAI's that clients try."""


class Models(Mapping[str, Pipeline]):
    """What a request may name as `model`: a pipeline, or one's language model as `NAME:llm`.

    Args:
        pipelines: The pipelines.
        language_models: Whether their language models are offered.
    """

    def __init__(self, pipelines: Pipelines, *, language_models: bool) -> None:
        made = (language_model(one, f"{name}{SUFFIX}") for name, one in pipelines.items())
        bare = {one.name: one for one in made if one is not None} if language_models else {}
        self._pipelines = pipelines
        self._bare = {name: one for name, one in bare.items() if name not in pipelines}

    def __getitem__(self, name: str) -> Pipeline:
        return self._bare[name] if name in self._bare else self._pipelines[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._pipelines
        yield from self._bare

    def __len__(self) -> int:
        return len(self._pipelines) + len(self._bare)

    def searches(self, name: str) -> bool:
        """Whether it is a pipeline, and not a language model alone."""
        return name not in self._bare

    def named(self, name: str) -> Pipeline:
        """What is called so.

        Raises:
            Problem: 404, nothing is.
        """
        if name in self:
            return self[name]
        raise Problem(
            404, "no_pipeline", f"there is no model {name[:64]!r}", where="model",
            fix=f"there are: {', '.join(self)}",
        )  # fmt: skip


class ModelBody(BaseModel):
    """A model."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "rag"


class ModelsBody(BaseModel):
    """The models."""

    object: str = "list"
    data: list[ModelBody]


def routes(shared: Endpoints, models: Models) -> APIRouter:
    """`GET /v1/models`, and an error in OpenAI's form where there is nothing."""
    router = shared.router(prefix="/v1", respond=respond, tags=["openai"], responses=ERRORS)
    Asker = Annotated[Identity, Depends(asks)]  # noqa: N806 - a type
    started = int(time.time())

    @router.get("/models")
    async def every(who: Asker) -> ModelsBody:
        """The pipelines, and as `NAME:llm` their language models, which search nothing."""
        return ModelsBody(data=[ModelBody(id=name, created=started) for name in models])

    @router.get("/models/{model}")
    async def one(model: str, who: Asker) -> ModelBody:
        """A model."""
        return ModelBody(id=models.named(model).name, created=started)

    async def absent() -> None:
        raise Problem(
            404, "not_found", "this endpoint of OpenAI's API is not offered",
            fix="use /v1/chat/completions, /v1/responses, /v1/embeddings or /v1/models",
        )  # fmt: skip

    for path in ABSENT:
        router.add_api_route(
            f"/{path}", absent, methods=["GET", "POST", "DELETE"], include_in_schema=False
        )
    return router
