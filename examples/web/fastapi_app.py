"""An application of one's own, with its own login, that answers from its documents under /rag.

uvicorn examples.web.fastapi_app:app
curl -u ann:canal localhost:8000/rag/ask -H "Content-Type: application/json" \
        -d '{"query": "Who may open the north lock?"}'
"""

import secrets
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from rag import load_flow
from rag.pipelines import path
from rag.serve import router

PEOPLE = {"ann": "canal", "ben": "bridge"}


def user(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
    """The application's own authentication: each user has chats and files of their own."""
    if not secrets.compare_digest(given.password, PEOPLE.get(given.username, secrets.token_hex())):
        raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
    return given.username


app = FastAPI()
app.include_router(router(load_flow(path("hybrid"), base=Path()), identity=user), prefix="/rag")


@app.get("/")
def home() -> dict[str, str]:
    """What the application did before."""
    return {"chat": "/rag/chat/"}
