"""Conversations, each a user's own: begun, continued, found, renamed, exported, deleted."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, Field

from rag.serve.conversations.feedback import Feedback, feedback_of
from rag.serve.errors import Problem
from rag.serve.state.database import Database, Row, like
from rag.serve.state.server_state import ServerState

CONVERSATIONS_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL, updated DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS conversations_by_owner ON conversations (owner, updated);
CREATE TABLE IF NOT EXISTS messages (
    number {identity}, conversation TEXT NOT NULL REFERENCES conversations (id)
        ON DELETE CASCADE,
    role TEXT NOT NULL, text TEXT NOT NULL, about TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_conversation ON messages (conversation, number)
"""
TITLE = 80
"""Characters of a title at most."""
LISTED = 200
"""Conversations in a list at most."""

_HEADS = (
    "SELECT id, title, created, updated, (SELECT runs.id FROM runs WHERE conversation = "
    "conversations.id AND ended = 0 AND background = 1 ORDER BY runs.created DESC LIMIT 1) AS run "
    "FROM conversations WHERE owner = ?"
)
_HAS = (
    " AND (lower(title) LIKE ? ESCAPE '!' OR EXISTS (SELECT 1 FROM messages WHERE "
    "conversation = conversations.id AND lower(text) LIKE ? ESCAPE '!'))"
)
_LATEST = " ORDER BY updated DESC LIMIT ?"


class Message(BaseModel):
    """A question or an answer."""

    number: int = Field(description="larger than those of earlier messages")
    role: Literal["user", "assistant"]
    content: str
    created: float = Field(description="seconds since the epoch")
    about: dict[str, Any] = Field(
        default={},
        description="run; of an answer also: query, sources, reuse, seconds, stopped or error",
    )
    feedback: Feedback | None = Field(default=None, description="what the user says of an answer")


class ConversationHead(BaseModel):
    """A conversation in a list."""

    id: str
    title: str
    created: float
    updated: float
    run: str | None = Field(
        default=None, description="the run in the background that answers a question of it now"
    )


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

        def write(db: Database) -> None:
            row = (head.id, user, head.title, head.created, head.updated)
            db.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?)", row)

        await self._state.do(write)
        return head

    async def heads(self, user: str, words: str = "") -> list[ConversationHead]:
        """The user's conversations, the latest first.

        Args:
            user: Whose they are.
            words: Only those that have all of these in their title or their messages.
        """
        patterns = like(words)
        values = (user, *(one for pattern in patterns for one in (pattern, pattern)), LISTED)
        statement = _HEADS + _HAS * len(patterns) + _LATEST
        rows = await self._state.do(lambda db: db.rows(statement, values))
        return [ConversationHead(**row) for row in rows]

    async def rename(self, user: str, name: str, title: str) -> None:
        """Give a conversation a title of the user's choice.

        Raises:
            Problem: 404, the user has no such conversation.
        """
        statement = "UPDATE conversations SET title = ? WHERE id = ? AND owner = ?"
        row = (title_of(title), name, user)
        if not await self._state.do(lambda db: db.execute(statement, row)):
            raise missing(name)

    async def get(self, user: str, name: str) -> Conversation:
        """A whole conversation.

        Raises:
            Problem: 404, the user has none of this id.
        """

        def read(db: Database) -> Conversation:
            head = db.row(_HEADS + " AND id = ?", (user, name))
            if head is None:
                raise missing(name)
            rows = db.rows(
                "SELECT number, role, text, messages.created, about, rating, comment, correction "
                "FROM messages LEFT JOIN feedback ON message = number WHERE conversation = ? "
                "ORDER BY number",
                (name,),
            )
            return Conversation(**head, messages=[_message(row) for row in rows])

        return await self._state.do(read)

    async def delete(self, user: str, name: str | None = None) -> int:
        """Delete one conversation, or all of the user's; returns how many."""
        statement = "DELETE FROM conversations WHERE owner = ? AND id = coalesce(?, id)"
        return await self._state.do(lambda db: db.execute(statement, (user, name)))


def _message(row: Row) -> Message:
    return Message(
        number=row["number"],
        role=row["role"],
        content=row["text"],
        created=row["created"],
        about=json.loads(row["about"]),
        feedback=feedback_of(row),
    )


def add_question(
    db: Database, user: str, name: str, query: str, earlier: int, *, run: str, instead: int | None
) -> list[dict[str, str]]:
    """Put a question behind the other messages; the first one gives the title.

    Args:
        db: Within a transaction.
        user: Whose conversation it is.
        name: Its id.
        query: The question.
        earlier: How many earlier messages are wanted.
        run: The run that answers it.
        instead: Number of an earlier question that it takes the place of; what came after that
            one is deleted.

    Returns:
        The latest messages before the question, oldest first, each `role` and `content`.

    Raises:
        Problem: 404, the user has no such conversation, or it has no such question.
    """
    if instead is not None:
        _cut(db, user, name, instead)
    changed = db.execute(
        "UPDATE conversations SET updated = ?, title = CASE title WHEN '' THEN ? ELSE title END "
        "WHERE id = ? AND owner = ?",
        (time.time(), title_of(query), name, user),
    )
    if not changed:
        raise missing(name)
    rows = db.rows(
        "SELECT role, text AS content FROM messages WHERE conversation = ? "
        "AND text != '' ORDER BY number DESC LIMIT ?",
        (name, earlier),
    )
    insert_message(db, name, "user", query, {"run": run})
    return rows[::-1]


def add_answer(db: Database, name: str, answer: str, about: dict[str, Any]) -> None:
    """Put an answer behind the other messages of a conversation that is there."""
    db.execute("UPDATE conversations SET updated = ? WHERE id = ?", (time.time(), name))
    insert_message(db, name, "assistant", answer, about)


def insert_message(db: Database, name: str, role: str, text: str, about: dict[str, Any]) -> None:
    """Put a message behind the others of a conversation that is there."""
    db.execute(
        "INSERT INTO messages (conversation, role, text, about, created) VALUES (?, ?, ?, ?, ?)",
        (name, role, text, json.dumps(about), time.time()),
    )


def _cut(db: Database, user: str, name: str, number: int) -> None:
    """Delete a question and what follows it; a title that was made of it goes too."""
    found = db.row(
        "SELECT text, title FROM messages JOIN conversations ON id = conversation "
        "WHERE conversation = ? AND owner = ? AND number = ? AND role = 'user'",
        (name, user, number),
    )
    if found is None:
        raise Problem(404, "no_message", f"there is no question {number}", where="instead_of")
    db.execute("DELETE FROM messages WHERE conversation = ? AND number >= ?", (name, number))
    if found["title"] == title_of(found["text"]):
        db.execute("UPDATE conversations SET title = '' WHERE id = ?", (name,))


def title_of(text: str) -> str:
    """A text as a title: on one line, and not too long."""
    return " ".join(text.split())[:TITLE]


def missing(name: str) -> Problem:
    """The answer to an unknown id."""
    what = f"there is no conversation {name[:64]!r}"
    return Problem(404, "no_conversation", what, fix="name one that GET /conversations lists")


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
