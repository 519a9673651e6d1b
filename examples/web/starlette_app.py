"""A plain Starlette application with a login of its own, the endpoints mounted under /rag.

uvicorn examples.web.starlette_app:app
curl -u ann:canal localhost:8000/rag/ask -H "Content-Type: application/json" \
        -d '{"query": "Who may open the north lock?"}'
"""

import base64
import binascii
import secrets
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from rag import load_flow
from rag.pipelines import path
from rag.serve import app as rag_app

PEOPLE = {"ann": "canal", "ben": "bridge"}


class Login(AuthenticationBackend):
    """The application's own authentication."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        """The user of the header `Authorization: Basic`."""
        scheme, _, given = conn.headers.get("authorization", "").partition(" ")
        try:
            name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        known = PEOPLE.get(name, secrets.token_hex())
        if scheme.lower() != "basic" or not secrets.compare_digest(password, known):
            return None
        return AuthCredentials(["authenticated"]), SimpleUser(name)


def user(request: Request) -> str:
    """Who asks: the user that the application's middleware has found."""
    if not request.user.is_authenticated:
        raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
    return str(request.user.display_name)


async def home(request: object) -> PlainTextResponse:
    """What the application did before."""
    return PlainTextResponse("home")


# Mounted applications get no start of their own: the first question loads the models.
answers = rag_app(load_flow(path("hybrid"), base=Path()), identity=user)
app = Starlette(
    routes=[Route("/", home), Mount("/rag", app=answers)],
    middleware=[Middleware(AuthenticationMiddleware, backend=Login())],
)
