"""A plain Starlette application with the endpoints mounted under /rag.

uvicorn examples.web.starlette_app:app
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from rag import load_flow
from rag.pipelines import path
from rag.serve import app as rag_app


async def home(request: object) -> PlainTextResponse:
    """What the application did before."""
    return PlainTextResponse("home")


# Mounted applications get no start of their own: the first question loads the models.
app = Starlette(
    routes=[Route("/", home), Mount("/rag", app=rag_app(load_flow(path("hybrid"), base=Path())))],
)
