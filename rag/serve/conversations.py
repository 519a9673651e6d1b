"""Conversations, each a user's own: begun, continued, listed, exported, deleted."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, Field

from rag.serve.errors import Problem
from rag.serve.state import ServerState

CONVERSATIONS_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, user TEXT NOT NULL, title TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS conversations_by_user ON conversations (user, updated);
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, conversation TEXT NOT NULL REFERENCES conversations (id)
        ON DELETE CASCADE,
    role TEXT NOT NULL, text TEXT NOT NULL, about TEXT NOT NULL, created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_conversation ON messages (conversation, number)
"""
TITLE = 80
"""Characters of a title at most."""
LISTED = 200
"""Conversations in a list at most."""


class Message(BaseModel):
    """A question or an answer."""

    role: Literal["user", "assistant"]
    content: str
    created: float = Field(description="seconds since the epoch")
    about: dict[str, Any] = Field(
        default={}, description="of an answer: run, sources, reuse, seconds, stopped or error"
    )


class ConversationHead(BaseModel):
    """A conversation in a list."""

    id: str
    title: str
    created: float
    updated: float


class Conversation(ConversationHead):
    """A conversation with its messages, oldest first."""

    messages: list[Message]


class Conversations:
    """The conversations in the server's file; nobody sees those of another user."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def begin(self, user: str) -> ConversationHead:
        """A new, empty conversation."""
        now = time.time()
        head = ConversationHead(id=uuid.uuid4().hex, title="", created=now, updated=now)

        def write(db: sqlite3.Connection) -> None:
            row = (head.id, user, head.title, head.created, head.updated)
            db.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?)", row)

        await self._state.do(write)
        return head

    async def heads(self, user: str) -> list[ConversationHead]:
        """The user's conversations, the latest first."""
        rows = await self._state.do(
            lambda db: db.execute(
                "SELECT id, title, created, updated FROM conversations WHERE user = ? "
                "ORDER BY updated DESC LIMIT ?",
                (user, LISTED),
            ).fetchall()
        )
        return [ConversationHead(**dict(row)) for row in rows]

    async def get(self, user: str, name: str) -> Conversation:
        """A whole conversation.

        Raises:
            Problem: 404, the user has none of this id.
        """

        def read(db: sqlite3.Connection) -> Conversation:
            head = db.execute(
                "SELECT id, title, created, updated FROM conversations WHERE id = ? AND user = ?",
                (name, user),
            ).fetchone()
            if head is None:
                raise missing(name)
            rows = db.execute(
                "SELECT role, text, created, about FROM messages WHERE conversation = ? "
                "ORDER BY number",
                (name,),
            )
            return Conversation(**dict(head), messages=[_message(row) for row in rows])

        return await self._state.do(read)

    async def add_question(
        self, user: str, name: str, query: str, earlier: int
    ) -> list[dict[str, str]]:
        """Put a question behind the other messages; the first one gives the title.

        Args:
            user: Whose conversation it is.
            name: Its id.
            query: The question.
            earlier: How many earlier messages are wanted.

        Returns:
            The latest messages before the question, oldest first, each `role` and `content`.

        Raises:
            Problem: 404, the user has no such conversation.
        """

        def write(db: sqlite3.Connection) -> list[dict[str, str]]:
            rows = db.execute(
                "SELECT role, text AS content FROM messages WHERE conversation = ? "
                "AND text != '' ORDER BY number DESC LIMIT ?",
                (name, earlier),
            ).fetchall()
            _add(db, user, name, "user", query, {})
            return [dict(row) for row in reversed(rows)]

        return await self._state.do(write)

    async def add_answer(self, user: str, name: str, answer: str, about: dict[str, Any]) -> None:
        """Put an answer behind the other messages.

        Raises:
            Problem: 404, the user has no such conversation.
        """
        await self._state.do(lambda db: _add(db, user, name, "assistant", answer, about))

    async def delete(self, user: str, name: str | None = None) -> int:
        """Delete one conversation, or all of the user's; returns how many."""
        statement = "DELETE FROM conversations WHERE user = ? AND id = coalesce(?, id)"
        return await self._state.do(lambda db: db.execute(statement, (user, name)).rowcount)


def _message(row: sqlite3.Row) -> Message:
    return Message(
        role=row["role"],
        content=row["text"],
        created=row["created"],
        about=json.loads(row["about"]),
    )


def _add(
    db: sqlite3.Connection, user: str, name: str, role: str, text: str, about: dict[str, Any]
) -> None:
    now = time.time()
    changed = db.execute(
        "UPDATE conversations SET updated = ?, title = iif(title = '', ?, title) "
        "WHERE id = ? AND user = ?",
        (now, " ".join(text.split())[:TITLE], name, user),
    ).rowcount
    if not changed:
        raise missing(name)
    db.execute(
        "INSERT INTO messages (conversation, role, text, about, created) VALUES (?, ?, ?, ?, ?)",
        (name, role, text, json.dumps(about), now),
    )


def missing(name: str) -> Problem:
    """The answer to an unknown id."""
    return Problem(404, "no_conversation", f"there is no conversation {name[:64]!r}")


def markdown(conversation: Conversation) -> str:
    """A conversation as Markdown, with the cited sources under each answer."""
    lines = [f"# {conversation.title or 'Conversation'}", ""]
    for message in conversation.messages:
        heading = "## Question" if message.role == "user" else "## Answer"
        lines += [heading, "", message.content, ""]
        for source in message.about.get("sources", []):
            if source["cited"]:
                lines.append(f"- [{source['number']}] {source['place']}: {source['quote']}")
        if message.about.get("sources"):
            lines.append("")
    return "\n".join(lines)
