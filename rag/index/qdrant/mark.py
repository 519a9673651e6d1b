"""The point that stops writers while an index is embedded again, and says where it went.

Nothing locks an index in Qdrant. Whoever embeds it again copies it into other collections while
others write, then marks it as closing, copies what has changed since, and changes the mark to the
name of the new collections. A writer looks at the mark behind its switch: what was switched before
the mark is copied, and of what came later the writer says that it failed.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from rag.errors import IndexStateError
from rag.index.qdrant.client import MARK, Client
from rag.index.store import embedded_again

CLOSING = 600
"""Seconds after which whoever was closing the index is taken for dead."""
OPEN = ""


class Mark:
    """The mark of the collections that a client is at.

    Args:
        client: Of the index.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def ensure_open(self) -> None:
        """See that what was just switched counts.

        Raises:
            IndexStateError: The index was embedded again meanwhile, or is about to be.
        """
        found = self._client.mark()
        if found.get("next"):
            raise embedded_again(found["embedder"], where=str(self._client.location))
        if not _is_closing(found):
            return
        if found["since"] > time.time() - CLOSING or not self._put(_open(), found["closing"]):
            raise IndexStateError(
                f"the index is just being embedded again, with {found['embedder']}",
                where=str(self._client.location),
                fix="wait until that is done, and write again with that embedder",
            )

    def close(self, embedder: str) -> str:
        """Let no write count from now on; returns what opens the index again.

        Raises:
            IndexStateError: Another process does the same, or has done it.
        """
        self.ensure_open()
        before = self._client.mark()
        token = uuid.uuid4().hex
        closing = {"closing": token, "since": time.time(), "embedder": embedder}
        if not self._put(closing, before.get("closing")):
            raise _another(self._client)
        return token

    def open(self, token: str) -> None:
        """Let writes count again, if this process has closed the index."""
        self._put(_open(), token)

    def move(self, token: str, collection: str, embedder: str, dim: int) -> None:
        """Let the index be in another collection from now on: the switch.

        Raises:
            IndexStateError: It was not closed by this process all the time.
        """
        there = {"closing": token, "next": collection, "embedder": embedder, "dim": dim}
        if not self._put(there, token):
            raise _another(self._client)

    def point_to(self, collection: str, embedder: str, dim: int) -> None:
        """Let the mark of an index that has moved say where it is now."""
        self._upsert({"closing": OPEN, "next": collection, "embedder": embedder, "dim": dim})

    def _put(self, payload: dict[str, Any], before: str | None) -> bool:
        """Change the mark, if nobody has since it said `before`; None: there was none."""
        from qdrant_client import models

        if before is None:
            same: Any = models.HasIdCondition(has_id=[])
        else:
            same = models.FieldCondition(key="closing", match=models.MatchValue(value=before))
        written = {**payload, "write": uuid.uuid4().hex}
        self._upsert(written, update_filter=models.Filter(must=[same]))
        return bool(self._client.mark().get("write") == written["write"])

    def _upsert(self, payload: dict[str, Any], **how: Any) -> None:
        from qdrant_client import models

        point = models.PointStruct(id=MARK, vector={}, payload=payload)
        self._client("upsert", collection=self._client.current.sources, points=[point], **how)


def _is_closing(found: dict[str, Any]) -> bool:
    return bool(found.get("closing", OPEN) != OPEN)


def _open() -> dict[str, Any]:
    return {"closing": OPEN}


def _another(client: Client) -> IndexStateError:
    return IndexStateError(
        "another process embeds this index again",
        where=str(client.location),
        fix="wait until it is done, or stop it",
    )
