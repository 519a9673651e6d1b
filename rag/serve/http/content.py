"""The documents behind answers, for a browser to open."""

import codecs
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi import Path as PathPart
from fastapi.responses import FileResponse, PlainTextResponse, Response

from rag.serve.documents.content import DocumentContent, Documents
from rag.serve.documents.links import Links
from rag.serve.errors import Problem
from rag.serve.http.authentication import asks
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEM, PROBLEMS, Id
from rag.serve.identity.identity import Identity

Form = Literal["original", "text"]

AS_TEXT = frozenset({"application/jsonl", "application/json", "application/xml"})
"""Content types that are shown as plain text, beside `text/...`."""
HTML = frozenset({"text/html", "application/xhtml+xml"})
PDF = "application/pdf"
PDF_POLICY = (
    "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"
)
"""What the viewers of browsers need."""
POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
PEEK = 2**16
"""Bytes that say whether a file is UTF-8."""
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {"description": "The document", "content": {"*/*": _BINARY}},
    206: {"description": "The part that `Range` asks for", "content": {"*/*": _BINARY}},
    **PROBLEMS,
}
Wanted = Annotated[
    Form | None,
    Query(
        alias="form",
        description="`original`: the file; `text`: what the index has of it; none: the file where "
        "a browser can show or save it, else the text",
    ),
]


def routes(shared: Endpoints, documents: Documents, links: Links) -> APIRouter:
    """`GET /documents/{id}/content`, and `GET /links/{token}` for browsers that have no key.

    Args:
        shared: What all endpoints share.
        documents: Opens them.
        links: Reads tokens.
    """
    router = shared.router(tags=["documents"])

    @router.get("/documents/{document}/content", response_class=Response, responses=_FOUND)
    async def content(
        document: Id,
        who: Annotated[Identity, Depends(asks)],
        pipeline: Annotated[
            str | None, Query(description="whose index it is in; none: the first")
        ] = None,
        form: Wanted = None,
    ) -> Response:
        """A document: that of a passage, by the passage's id, or an upload, by its own."""
        return response(await documents.find(who, pipeline, document), form)

    public = shared.router(public=True, tags=["documents"])

    @public.get("/links/{token}", response_class=Response, responses={**_FOUND, 410: PROBLEM})
    async def linked(
        token: Annotated[str, PathPart(pattern="^[A-Za-z0-9_-]+$", max_length=8000)],
        form: Wanted = None,
    ) -> Response:
        """The document that a signed link names."""
        return response(await documents.find(*links.read(token)), form)

    router.include_router(public)
    return router


def response(found: DocumentContent, form: Form | None) -> Response:
    """The document so that no browser runs anything of it.

    Raises:
        Problem: 404, the original is wanted, and there is none.
    """
    if form == "original" and found.file is None:
        raise Problem(
            404, "no_original", "the file itself cannot be opened here", where="form",
            fix="leave it out: the text of the document is there",
        )  # fmt: skip
    kind = found.kind
    headers = {"Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": POLICY}
    if found.file is None or form == "text" or (kind in HTML and form is None):
        return PlainTextResponse(found.text, headers=headers)
    shown = kind.startswith("text/") and kind not in HTML
    if kind == PDF:
        shown, headers["Content-Security-Policy"] = True, PDF_POLICY
    elif shown or kind in AS_TEXT:
        shown, kind = True, _plain(found.file)
    made = FileResponse(
        found.file,
        headers=headers,
        filename=found.name,
        content_disposition_type="inline" if shown else "attachment",
    )
    made.headers["Content-Type"] = kind
    return made


def _plain(file: Path) -> str:
    """The content type of a text file: with its encoding, where that is UTF-8."""
    with file.open("rb") as opened:
        head = opened.read(PEEK)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "text/plain"
    return "text/plain; charset=utf-8"
