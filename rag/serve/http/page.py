"""The chat page and the widget: static files from the package, and nothing from anywhere else."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.requests import Request

from rag.errors import ConfigError
from rag.serve.errors import Problem
from rag.serve.http.route import Endpoints
from rag.serve.http.static import StaticFile
from rag.serve.settings.settings import Settings

FOLDER = Path(__file__).parents[1] / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}
LOGOS = {
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


def routes(shared: Endpoints, settings: Settings, *, keys: bool) -> APIRouter:
    """`GET /chat/`, its files, and a redirect to it from the root.

    Args:
        shared: What all endpoints share.
        settings: Say what the page is called, and what it offers.
        keys: Whether users have keys, which the page asks for.

    Raises:
        ConfigError: The logo is no picture, or not there.
    """
    router = shared.router(public=True, include_in_schema=False)
    files = _files()
    logo = settings.logo
    if logo is not None and (logo.suffix.lower() not in LOGOS or not logo.is_file()):
        raise ConfigError(
            "the logo cannot be shown", where=str(logo),
            fix=f"give a file that is there, one of {', '.join(sorted(LOGOS))}",
        )  # fmt: skip

    @router.get("/")
    async def root(request: Request) -> Response:
        return RedirectResponse(f"{request.url.path}chat/")

    @router.get("/chat")
    async def chat(request: Request) -> Response:
        return RedirectResponse(f"{request.url.path}/")

    @router.get("/chat/settings")
    async def of_page() -> dict[str, Any]:
        return {
            "title": settings.title,
            "logo": logo is not None,
            "keys": keys,
            "suggestions": settings.suggestions > 0,
            "max_question": settings.max_question,
        }

    @router.get("/chat/logo")
    async def picture() -> Response:
        if logo is None:
            raise _missing("logo")
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return FileResponse(logo, media_type=LOGOS[logo.suffix.lower()], headers=headers)

    @router.get("/chat/{path:path}")
    async def page(request: Request, path: str) -> Response:
        return _file(request, files, path or "index.html")

    return router


def widget_routes(shared: Endpoints) -> APIRouter:
    """`GET /widget.js`, and the modules that it loads."""
    router = shared.router(public=True, include_in_schema=False)
    files = _files()

    @router.get("/widget.js")
    async def script(request: Request) -> Response:
        return _file(request, files, "widget/widget.js")

    @router.get("/widget/{path:path}")
    async def module(request: Request, path: str) -> Response:
        return _file(request, files, path)

    return router


def _files() -> dict[str, StaticFile]:
    found = (path for path in FOLDER.rglob("*") if path.suffix in KINDS)
    return {
        path.relative_to(FOLDER).as_posix(): StaticFile(path, KINDS[path.suffix]) for path in found
    }


def _file(request: Request, files: dict[str, StaticFile], path: str) -> Response:
    found = files.get(path)
    if found is None:
        raise _missing(path)
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return found.answer(request, headers)


def _missing(path: str) -> Problem:
    return Problem(404, "not_found", "there is no such file", where=path[:120])
