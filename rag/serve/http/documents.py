"""Documents: upload, follow the ingest, delete."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, UploadFile

from rag.index.binding import SHARED
from rag.serve.errors import Problem
from rag.serve.http.authentication import uploads as may_upload
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEM, PROBLEMS, Id
from rag.serve.identity.identity import Identity
from rag.serve.identity.limits import UserLimits
from rag.serve.observe.audit import audit
from rag.serve.pipelines.pipeline import Pipelines
from rag.serve.uploads.inspection import HEAD
from rag.serve.uploads.uploads import LISTED, Upload, Uploads
from rag.serve.uploads.worker import UploadWorker

BLOCK = 2**20
OVERHEAD = 2**16
"""Bytes of a form beside its files."""
FULL_FILES = 5
"""Files of the largest size that one request may hold."""


def routes(
    shared: Endpoints,
    uploads: Uploads,
    worker: UploadWorker,
    pipelines: Pipelines,
    limits: UserLimits,
    *,
    max_upload: int,
    max_files: int,
) -> APIRouter:
    """The endpoints under `/documents`.

    Args:
        shared: What all endpoints share.
        uploads: Keeps the files.
        worker: Ingests and deletes them.
        pipelines: Whose indexes there are.
        limits: Of what a user may use.
        max_upload: Bytes of a file.
        max_files: Files of one request.
    """
    router = shared.router(
        prefix="/documents",
        max_body=max_upload * min(max_files, FULL_FILES) + OVERHEAD,
        tags=["documents"],
        responses={**PROBLEMS, 409: PROBLEM, 415: PROBLEM},
    )
    Uploader = Annotated[Identity, Depends(may_upload)]  # noqa: N806 - a type

    @router.post("", status_code=202)
    async def upload(
        files: Annotated[list[UploadFile], File(description="the documents")],
        who: Uploader,
        pipeline: Annotated[
            str | None, Query(description="into whose index; none: the first")
        ] = None,
        collection: Annotated[
            str | None, Query(description="one of the user's; none: the last of them")
        ] = None,
    ) -> list[Upload]:
        """Upload documents. They are ingested in the background; `GET` shows the progress."""
        name, into = pipelines.named(pipeline).name, _collection(who, collection)
        await limits.request(who)
        if len(files) > max_files:
            what = f"{len(files)} files, the limit is {max_files}"
            raise Problem(413, "too_many_files", what, where="files", fix="send them in parts")
        names = []
        for file in files:  # all are checked before the first one is kept
            head = await file.read(HEAD)
            await file.seek(0)
            names.append(uploads.check(file.filename or "", head, file.size or 0))
        kept = []
        for file, safe_name in zip(files, names, strict=True):
            path = uploads.incoming()
            try:
                await _receive(file, path)
                one = await uploads.keep(who.user, into, name, safe_name, path)
                kept.append(one)
                audit(
                    "upload", who.user, document=one.id, file=one.name, collection=into,
                    bytes=one.bytes,
                )  # fmt: skip
            finally:
                path.unlink(missing_ok=True)
        return kept

    @router.get("")
    async def listed(
        who: Uploader,
        after: Annotated[
            str | None,
            Query(pattern="^[0-9a-f]{32}$", description="id of the last one read: those behind it"),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=LISTED)] = LISTED,
        search: Annotated[
            str, Query(max_length=200, description="words that their names have, all of them")
        ] = "",
    ) -> list[Upload]:
        """The uploaded documents, the latest first; fewer than `limit`: there are no more."""
        return await uploads.of(who.user, after, limit, search)

    @router.get("/{document}")
    async def read(document: Id, who: Uploader) -> Upload:
        """A document and the progress of its ingest."""
        return await uploads.get(who.user, document)

    @router.delete("/{document}", status_code=204)
    async def delete(document: Id, who: Uploader) -> None:
        """Take a document out of the index."""
        await worker.delete(who.user, document)
        audit("delete_document", who.user, document=document)

    return router


def _collection(who: Identity, wanted: str | None) -> str:
    """The collection that an upload goes to.

    Raises:
        Problem: 403, the user may not upload there.
    """
    chosen = wanted or who.own
    if chosen not in (who.collections or ()):
        raise Problem(
            403, "not_allowed", f"the collection {chosen[:64]!r} is not yours", where="collection",
            fix=f"yours are: {', '.join(who.collections or ())}",
        )  # fmt: skip
    if chosen == SHARED and "admin" not in who.may:
        raise Problem(
            403, "not_allowed", "only administrators upload into the shared collection",
            where="collection", fix="name another one, or ask an administrator",
        )  # fmt: skip
    return chosen


async def _receive(file: UploadFile, path: Path) -> None:
    with path.open("wb") as opened:
        while block := await file.read(BLOCK):
            await asyncio.to_thread(opened.write, block)
