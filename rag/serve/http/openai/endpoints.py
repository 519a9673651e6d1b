"""All endpoints below `/v1`."""

from fastapi import APIRouter

from rag.serve.http.openai import (
    chat,
    embeddings,
    input_items,
    models,
    responses,
    stored_responses,
)
from rag.serve.http.route import Endpoints
from rag.serve.service import Service


def routes(shared: Endpoints, service: Service, *, identified: bool) -> APIRouter:
    """The endpoints.

    Args:
        shared: What all endpoints share.
        service: Answers.
        identified: Whether it is known who asks. Strangers get no language models without a
            pipeline around them, and nothing of theirs is stored.
    """
    settings, answering = service.settings, service.answering
    named = models.Models(
        service.pipelines, language_models=identified and settings.language_models
    )
    stored = service.responses if identified else None
    router = APIRouter()
    for one in (
        models.routes(shared, named),
        chat.routes(shared, answering, named, service.links, settings),
        responses.routes(
            shared, answering, named, service.links, settings, service.conversations, stored
        ),
        stored_responses.routes(shared, service.links, settings, stored),
        input_items.routes(shared, stored),
        embeddings.routes(shared, answering, service.pipelines),
    ):
        router.include_router(one)
    return router
