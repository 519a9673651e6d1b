"""The queue of uploads: what is to be ingested, and who does it, in any number of processes."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from rag.serve.state.database import Database
from rag.serve.state.server_state import ServerState
from rag.serve.uploads.uploads import Status, StoredUpload, missing

DEATHS = 3
"""Claims that end with their process before an upload counts as what ended them."""
_MINE = "WHERE owner = ? AND id = ? AND claim = ?"


@dataclass(frozen=True)
class Claim:
    """An upload that a worker ingests.

    Args:
        upload: The upload.
        id: Of this claim, no other's.
    """

    upload: StoredUpload
    id: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What finds the row, as long as the claim counts."""
        return self.upload.user, self.upload.id, self.id


class UploadQueue:
    """Uploads wait here for a worker, which claims one after another.

    A claim is a lease: it counts until its time is over, unless it is renewed. So what a worker
    that died had claimed is another's after that time, wherever the two run. What the worker of a
    lease that was lost says of its upload does not count.

    Args:
        state: Has the uploads.
        lease: Seconds for which a claim counts.
    """

    def __init__(self, state: ServerState, lease: float) -> None:
        self._state, self.lease = state, lease
        self.filled = asyncio.Event()
        """Set when this process has added something."""

    async def claim(self, pipelines: Collection[str]) -> Claim | None:
        """An upload that nobody ingests, claimed; None if there is none.

        It is the oldest one of the user whose uploads were begun least, lately.

        Args:
            pipelines: Names of those whose uploads the worker can ingest.
        """
        ours = f"pipeline IN ({', '.join('?' * len(pipelines))})"
        free = f"({ours} AND (status = 'queued' OR (status = 'ingesting' AND until < ?)))"

        def write(db: Database) -> Claim | None:
            db.lock("uploads claimed")
            now, name = db.now(), uuid.uuid4().hex
            mine = (*pipelines, now)
            db.execute(
                "UPDATE documents SET status = 'failed', claim = NULL, "  # noqa: S608 - values are bound
                "detail = 'reading it ended the process, several times' "
                f"WHERE status = 'ingesting' AND deaths >= ? AND until < ? AND {ours}",
                (DEATHS - 1, now, *pipelines),
            )
            row = db.row(
                "UPDATE documents SET claim = ?, until = ?, "  # noqa: S608
                "deaths = deaths + CASE status WHEN 'ingesting' THEN 1 ELSE 0 END, "
                "status = 'ingesting', begun = (SELECT coalesce(max(begun), 0) + 1 FROM documents) "
                f"WHERE (owner, id) IN (SELECT owner, id FROM documents WHERE {free} "
                "AND owner = (SELECT owner FROM documents GROUP BY owner "
                f"HAVING sum(CASE WHEN {free} THEN 1 ELSE 0 END) > 0 "
                "ORDER BY max(begun), min(created) LIMIT 1) ORDER BY created LIMIT 1) RETURNING *",
                (name, now + self.lease, *mine, *mine),
            )
            return None if row is None else Claim(StoredUpload.of(row), name)

        return await self._state.do(write)

    async def renew(self, claim: Claim, share: float) -> bool:
        """Let a claim count for another lease.

        Args:
            claim: The claim.
            share: How much is ingested, 0 to 1.

        Returns:
            Whether it still counts: the upload may be deleted, replaced, or another's.
        """
        changed = await self._state.do(
            lambda db: db.execute(
                f"UPDATE documents SET until = ?, progress = ? {_MINE}",  # noqa: S608
                (db.now() + self.lease, share, *claim.key),
            )
        )
        return bool(changed)

    async def settle(
        self, claim: Claim, status: Status, *, detail: str = "", chunks: int = 0
    ) -> bool:
        """Give up a claim, and say what became of the upload.

        Returns:
            Whether the claim still counted.
        """
        progress = 1.0 if status == "ready" else 0.0
        changed = await self._state.do(
            lambda db: db.execute(
                "UPDATE documents SET status = ?, detail = ?, chunks = ?, progress = ?, "  # noqa: S608
                f"claim = NULL, deaths = 0 {_MINE}",
                (status, detail, chunks, progress, *claim.key),
            )
        )
        return bool(changed)

    async def is_deleted(self, upload: StoredUpload) -> bool:
        """Whether the user has deleted an upload, or is about to."""
        row = await self._state.do(
            lambda db: db.row(
                "SELECT status FROM documents WHERE owner = ? AND id = ?", (upload.user, upload.id)
            )
        )
        return row is None or row["status"] == "deleting"

    async def begin_deletion(self, user: str, key: str) -> StoredUpload:
        """Let nobody ingest an upload any more, whose worker then stops.

        Raises:
            Problem: 404, the user has none of this id.
        """

        def write(db: Database) -> StoredUpload:
            db.lock("uploads claimed")
            row = db.row("SELECT * FROM documents WHERE owner = ? AND id = ?", (user, key))
            if row is None:
                raise missing(key)
            db.execute(
                "UPDATE documents SET status = 'deleting', claim = NULL WHERE owner = ? AND id = ?",
                (user, key),
            )
            return StoredUpload.of(row)

        return await self._state.do(write)

    async def cancel_deletion(self, upload: StoredUpload) -> None:
        """Let an upload be as it was that could not be deleted."""
        status = "queued" if upload.status in ("ingesting", "deleting") else upload.status
        await self._state.do(
            lambda db: db.execute(
                "UPDATE documents SET status = ? "
                "WHERE owner = ? AND id = ? AND status = 'deleting'",
                (status, upload.user, upload.id),
            )
        )

    async def forget(self, upload: StoredUpload) -> None:
        """Delete an upload and its file, unless another file of its name has come."""
        deleted = await self._state.do(
            lambda db: db.execute(
                "DELETE FROM documents WHERE owner = ? AND id = ? AND status = 'deleting'",
                (upload.user, upload.id),
            )
        )
        if deleted:
            await asyncio.to_thread(shutil.rmtree, upload.path.parent, ignore_errors=True)
