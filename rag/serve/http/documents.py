"""Documents: upload, watch, delete."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, UploadFile

from rag.serve.access import Tenant, own_pages_only
from rag.serve.http.ask import PROBLEM, PROBLEMS, Id
from rag.serve.http.problems import Problem
from rag.serve.http.route import route_class
from rag.serve.inspect import HEAD
from rag.serve.service import Service
from rag.serve.uploads import Document

BLOCK = 2**20
OVERHEAD = 2**16
"""Bytes of a form beside its files."""


def routes(service: Service, tenant: Tenant) -> APIRouter:
    """The endpoints under `/documents`."""
    settings = service.settings
    router = APIRouter(
        prefix="/documents",
        route_class=route_class(
            service, settings.max_upload * min(settings.max_files, 5) + OVERHEAD
        ),
        tags=["documents"],
        dependencies=[Depends(own_pages_only)],
        responses={**PROBLEMS, 409: PROBLEM, 415: PROBLEM},
    )
    Whose = Annotated[str, Depends(tenant)]  # noqa: N806 - a type

    @router.post("", status_code=202)
    async def upload(
        files: Annotated[list[UploadFile], File(description="the documents")],
        tenant: Whose,
        pipeline: Annotated[
            str | None, Query(description="into whose index; none: the first")
        ] = None,
    ) -> list[Document]:
        """Upload documents. They are ingested in the background; `GET` tells how far they are."""
        name = service.pipeline(pipeline)
        if len(files) > settings.max_files:
            what = f"{len(files)} files, the limit is {settings.max_files}"
            raise Problem(413, "too_many_files", what, where="files", fix="send them in parts")
        names = []
        for file in files:  # all are looked at before the first one is kept
            head = await file.read(HEAD)
            await file.seek(0)
            names.append(service.documents.check(file.filename or "", head, file.size or 0))
        kept = []
        for file, plain in zip(files, names, strict=True):
            path = service.documents.incoming()
            try:
                await _receive(file, path)
                kept.append(await service.documents.keep(tenant, name, plain, path))
            finally:
                path.unlink(missing_ok=True)
        return kept

    @router.get("")
    async def listed(tenant: Whose) -> list[Document]:
        """The uploaded documents, the latest first."""
        return await service.documents.listed(tenant)

    @router.get("/{document}")
    async def read(document: Id, tenant: Whose) -> Document:
        """A document: how far it is ingested."""
        return await service.documents.get(tenant, document)

    @router.delete("/{document}", status_code=204)
    async def delete(document: Id, tenant: Whose) -> None:
        """Take a document out of the index."""
        await service.documents.delete(tenant, document)

    return router


async def _receive(file: UploadFile, path: Path) -> None:
    with path.open("wb") as opened:
        while block := await file.read(BLOCK):
            await asyncio.to_thread(opened.write, block)
