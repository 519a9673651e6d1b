"""A Django project (ASGI) that leaves everything under /rag/ to the endpoints.

uvicorn examples.web.django_app:application

Whoever is logged in to Django, in its session, is the user there.
"""

import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, cast

import django
from django.conf import settings
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path as route
from fastapi import HTTPException, Request

from rag import load_flow
from rag.pipelines import path
from rag.serve import app as rag_app

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("SECRET_KEY", secrets.token_hex()),
        ALLOWED_HOSTS=["localhost", "127.0.0.1"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    django.setup()


def home(request: HttpRequest) -> HttpResponse:
    """What the project did before."""
    return HttpResponse(b"home")


def login(request: HttpRequest, name: str) -> HttpResponse:
    """Stands for the project's own login."""
    cast("Any", request).session["user"] = name
    return HttpResponse(b"welcome")


def user(request: Request) -> str:
    """Who asks: the user of Django's session."""
    session = SessionStore(request.cookies.get(settings.SESSION_COOKIE_NAME))
    if "user" not in session:
        raise HTTPException(401, "log in first")
    return str(session["user"])


urlpatterns = [route("", home), route("login/<name>", login)]

own = get_asgi_application()
answers = rag_app(load_flow(path("hybrid"), base=Path()), identity=user)


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
