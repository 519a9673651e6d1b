"""Responses that others may continue: which conversation each is in."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence

from rag.serve.conversations.conversations import insert_message, title_of
from rag.serve.errors import Problem
from rag.serve.state.database import Database
from rag.serve.state.server_state import ServerState

RESPONSES_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, conversation TEXT NOT NULL
        REFERENCES conversations (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS responses_by_conversation ON responses (conversation)
"""


class Responses:
    """The responses in the server's file. Each is an answer in a conversation of its user's."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def begin(
        self, user: str, previous: str | None, history: Sequence[Mapping[str, str]]
    ) -> tuple[str, bool]:
        """The conversation of a response that is about to be made.

        Args:
            user: Asks.
            previous: The response (its run) that it continues.
            history: Messages that come before its question, each `role` and `content`.

        Returns:
            The conversation of the previous one, if nothing came after that; else a copy of it up
            to there, or a new one. And whether it was made for this.

        Raises:
            Problem: 404, the user has no such previous response.
        """

        def write(db: Database) -> tuple[str, bool]:
            if previous is None:
                title = title_of(history[0]["content"]) if history else ""
                name, is_new = _begun(db, user, title), True
            else:
                name, is_new = _continued(db, user, previous)
            for one in history:
                insert_message(db, name, one["role"], one["content"], {})
            return name, is_new

        return await self._state.do(write)

    async def note(self, user: str, run: str, conversation: str) -> None:
        """Note which conversation a response (its run) is in, so that it can be continued."""
        row = (run, user, conversation)
        statement = "INSERT INTO responses VALUES (?, ?, ?)"
        await self._state.do(lambda db: db.execute(statement, row))


def _begun(db: Database, user: str, title: str) -> str:
    name, now = uuid.uuid4().hex, time.time()
    row = (name, user, title, now, now)
    db.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?)", row)
    return name


def _continued(db: Database, user: str, previous: str) -> tuple[str, bool]:
    found = db.row(
        "SELECT conversation, title FROM responses JOIN conversations "
        "ON conversations.id = conversation WHERE responses.id = ? AND responses.owner = ?",
        (previous, user),
    )
    messages = db.rows(
        "SELECT number, role, about FROM messages WHERE conversation = ? ORDER BY number",
        (found["conversation"] if found else "",),
    )
    answers = [
        one["number"]
        for one in messages
        if one["role"] == "assistant" and json.loads(one["about"]).get("run") == previous
    ]
    if found is None or not answers:
        raise Problem(
            404, "previous_response_not_found", f"there is no response {previous[:64]!r}",
            where="previous_response_id", fix="begin anew: leave it out, and send the history",
        )  # fmt: skip
    if answers[-1] == messages[-1]["number"]:
        return found["conversation"], False
    name = _begun(db, user, found["title"])
    db.execute(
        "INSERT INTO messages (conversation, role, text, about, created) SELECT CAST(? AS TEXT), "
        "role, text, about, created FROM messages WHERE conversation = ? AND number <= ? "
        "ORDER BY number",
        (name, found["conversation"], answers[-1]),
    )
    return name, True
