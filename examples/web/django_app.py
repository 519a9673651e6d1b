"""A Django project (ASGI) that leaves everything under /rag/ to the endpoints.

uvicorn examples.web.django_app:application
"""

import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path as route

from rag import load_flow
from rag.pipelines import path
from rag.serve import app as rag_app

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("SECRET_KEY", secrets.token_hex()),
        ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    )
    django.setup()


def home(request: HttpRequest) -> HttpResponse:
    """What the project did before."""
    return HttpResponse(b"home")


urlpatterns = [route("", home)]

own = get_asgi_application()
answers = rag_app(load_flow(path("hybrid"), base=Path()))


async def application(
    scope: MutableMapping[str, Any],
    receive: Callable[..., Any],
    send: Callable[..., Awaitable[None]],
) -> None:
    """Requests under /rag go to the endpoints, all others to Django."""
    if scope["type"] == "lifespan":
        await answers(scope, receive, send)
    elif scope["path"].startswith("/rag/"):
        await answers({**scope, "root_path": scope.get("root_path", "") + "/rag"}, receive, send)
    else:
        await own(scope, receive, send)
