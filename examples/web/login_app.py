"""An application with a login page: a signed cookie says who asks, and the chat is behind it.

SESSION_SECRET=$(python -c "import secrets; print(secrets.token_hex())") \
    uvicorn examples.web.login_app:app
# then open http://localhost:8000/ and log in as ann, password canal
"""

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Form, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse

from rag import load_flow
from rag.pipelines import path
from rag.serve import router

SECRET = os.environ.get("SESSION_SECRET", secrets.token_hex()).encode()
"""Signs cookies. Without the variable a restart logs everybody out."""
SECONDS = 8 * 3600
"""How long a login counts."""


def stretched(password: str, salt: bytes) -> bytes:
    """A digest that is slow to guess."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


SALT = secrets.token_bytes(16)
PEOPLE = {"ann": stretched("canal", SALT), "ben": stretched("bridge", SALT)}
"""Stands for a table of users: name to digest, never to password; there, a salt for each."""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Log in</title>
<h1>Log in</h1><form method="post" action="/login">
<label>Name <input name="name" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Log in</button></form></html>"""


def signature(name: str, until: int) -> str:
    """What only this application can write."""
    return hmac.new(SECRET, f"{name}.{until}".encode(), hashlib.sha256).hexdigest()


def user(session: Annotated[str | None, Cookie()] = None) -> str:
    """Who asks: the name in a cookie that is signed and not too old."""
    claim, _, signed = (session or "").rpartition(".")
    name, _, until = claim.rpartition(".")
    if not until.isascii() or not until.isdigit() or int(until) < time.time():
        raise HTTPException(401, "log in at /")
    if not hmac.compare_digest(signature(name, int(until)).encode(), signed.encode()):
        raise HTTPException(401, "log in at /")
    return name


app = FastAPI()
app.include_router(router(load_flow(path("hybrid"), base=Path()), identity=user), prefix="/rag")


@app.get("/", response_class=HTMLResponse)
def home() -> str:
    """The page on which people log in."""
    return PAGE


@app.post("/login")
def login(name: Annotated[str, Form()], password: Annotated[str, Form()]) -> RedirectResponse:
    """Check the password and set the cookie; scripts and other sites do not get it."""
    known = PEOPLE.get(name, b"")
    if not hmac.compare_digest(stretched(password, SALT), known):
        raise HTTPException(401, "unknown name or wrong password")
    until = int(time.time()) + SECONDS
    answer = RedirectResponse("/rag/chat/", 303)
    value = f"{name}.{until}.{signature(name, until)}"
    # Behind TLS also secure=True.
    answer.set_cookie("session", value, SECONDS, httponly=True, samesite="lax")
    return answer


@app.post("/logout")
def logout(_: Annotated[str, Depends(user)]) -> RedirectResponse:
    """Forget the cookie."""
    answer = RedirectResponse("/", 303)
    answer.delete_cookie("session")
    return answer
