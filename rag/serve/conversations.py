"""Conversations: kept per tenant, listed, exported, deleted."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, Field

from rag.serve.http.problems import Problem
from rag.serve.store import Store

TITLE = 80


class Message(BaseModel):
    """One thing that was said."""

    role: Literal["user", "assistant"]
    text: str
    created: float = Field(description="seconds since the epoch")
    about: dict[str, Any] = Field(
        default={}, description="of an answer: run, sources, context, seconds, stopped or error"
    )


class ConversationHead(BaseModel):
    """A conversation in a list."""

    id: str
    title: str
    created: float
    updated: float


class Conversation(ConversationHead):
    """A conversation with all that was said, older first."""

    messages: list[Message]


class Conversations:
    """The conversations in a store. Nobody sees those of another tenant."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, tenant: str) -> ConversationHead:
        """A new, empty conversation."""
        now = time.time()
        head = ConversationHead(id=uuid.uuid4().hex, title="", created=now, updated=now)

        def write(connection: sqlite3.Connection) -> None:
            row = (head.id, tenant, head.title, head.created, head.updated)
            connection.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?)", row)

        await self._store.do(write)
        return head

    async def listed(self, tenant: str, limit: int = 200) -> list[ConversationHead]:
        """The tenant's conversations, the latest first."""
        rows = await self._store.do(
            lambda connection: connection.execute(
                "SELECT id, title, created, updated FROM conversations WHERE tenant = ? "
                "ORDER BY updated DESC LIMIT ?",
                (tenant, limit),
            ).fetchall()
        )
        return [ConversationHead(**dict(row)) for row in rows]

    async def get(self, tenant: str, name: str) -> Conversation:
        """A whole conversation.

        Raises:
            Problem: 404, the tenant has none of this id.
        """

        def read(connection: sqlite3.Connection) -> tuple[Any, list[Any]]:
            head = connection.execute(
                "SELECT id, title, created, updated FROM conversations WHERE id = ? AND tenant = ?",
                (name, tenant),
            ).fetchone()
            said = connection.execute(
                "SELECT role, text, created, about FROM messages WHERE conversation = ? "
                "ORDER BY number",
                (name,),
            )
            return head, said.fetchall()

        head, said = await self._store.do(read)
        if head is None:
            raise missing(name)
        messages = [Message(**{**dict(row), "about": json.loads(row["about"])}) for row in said]
        return Conversation(**dict(head), messages=messages)

    async def add(
        self, tenant: str, name: str, role: str, text: str, about: dict[str, Any] | None = None
    ) -> None:
        """Put a message behind the others; the first question gives the title.

        Raises:
            Problem: 404, the tenant has no such conversation.
        """
        now = time.time()

        def write(connection: sqlite3.Connection) -> int:
            changed = connection.execute(
                "UPDATE conversations SET updated = ?, title = iif(title = '', ?, title) "
                "WHERE id = ? AND tenant = ?",
                (now, " ".join(text.split())[:TITLE], name, tenant),
            ).rowcount
            if changed:
                connection.execute(
                    "INSERT INTO messages (conversation, role, text, about, created) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (name, role, text, json.dumps(about or {}), now),
                )
            return changed

        if not await self._store.do(write):
            raise missing(name)

    async def delete(self, tenant: str, name: str | None = None) -> int:
        """Forget one conversation, or all of the tenant's; returns how many."""
        statement = "DELETE FROM conversations WHERE tenant = ? AND id = coalesce(?, id)"
        return await self._store.do(
            lambda connection: connection.execute(statement, (tenant, name)).rowcount
        )


def missing(name: str) -> Problem:
    """The answer to an unknown id."""
    return Problem(404, "no_conversation", f"there is no conversation {name[:64]!r}")


def markdown(conversation: Conversation) -> str:
    """A conversation as a Markdown text, its sources under each answer."""
    lines = [f"# {conversation.title or 'Conversation'}", ""]
    for message in conversation.messages:
        lines += ["## Question" if message.role == "user" else "## Answer", "", message.text, ""]
        for source in message.about.get("sources", []):
            if source["cited"]:
                lines.append(f"- [{source['number']}] {source['place']}: {source['quote']}")
        if message.about.get("sources"):
            lines.append("")
    return "\n".join(lines)
