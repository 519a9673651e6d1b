"""The chat page: static files from the package, and nothing from anywhere else."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.requests import Request

from rag.serve.errors import Problem
from rag.serve.http.route import Endpoints

FOLDER = Path(__file__).parents[1] / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


def routes(shared: Endpoints) -> APIRouter:
    """`GET /chat/`, its files, and a redirect to it from the root."""
    router = shared.router(public=True, include_in_schema=False)
    files = {
        path.relative_to(FOLDER).as_posix(): path
        for path in FOLDER.rglob("*")
        if path.suffix in KINDS
    }

    @router.get("/")
    async def root(request: Request) -> Response:
        return RedirectResponse(f"{request.url.path}chat/")

    @router.get("/chat")
    async def chat(request: Request) -> Response:
        return RedirectResponse(f"{request.url.path}/")

    @router.get("/chat/{path:path}")
    async def page(path: str) -> Response:
        found = files.get(path or "index.html")
        if found is None:
            raise Problem(404, "not_found", "there is no such file", where=path[:120])
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return FileResponse(found, media_type=KINDS[found.suffix], headers=headers)

    return router
