"""Feedback: what users say of answers. It is deleted with the conversation that it is about."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rag.serve.errors import Problem
from rag.serve.state.database import Database, Row
from rag.serve.state.server_state import ServerState

FEEDBACK_SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback (
    message BIGINT PRIMARY KEY REFERENCES messages (number) ON DELETE CASCADE,
    rating TEXT NOT NULL, comment TEXT NOT NULL, correction TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL
)
"""
MOST = 4000
"""Characters of a comment or a correction at most."""


class Feedback(BaseModel):
    """What a user says of an answer."""

    model_config = ConfigDict(extra="forbid")

    rating: Literal["good", "bad"]
    comment: str = Field(default="", max_length=MOST)
    correction: str = Field(
        default="", max_length=MOST, description="the answer that would have been right"
    )


class RatedSource(BaseModel):
    """A source of an answer that was rated."""

    path: str = Field(description="of the document, as readers know it")
    place: str
    quote: str | None = Field(description="the sentence that supports the answer most")
    cited: bool


class RatedAnswer(Feedback):
    """An answer with what its user says of it: what it can be learnt from."""

    user: str
    conversation: str
    run: str | None
    created: float = Field(description="when it was rated, in seconds since the epoch")
    question: str = Field(description="as it was searched for: it stands alone")
    answer: str
    sources: list[RatedSource]


class FeedbackStore:
    """The feedback in the server's file; users give it to answers of their own conversations.

    Args:
        state: Keeps it.
    """

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def put(self, user: str, conversation: str, number: int, said: Feedback | None) -> None:
        """Rate an answer, in the place of an earlier rating; None: take the rating back.

        Raises:
            Problem: 404, the user has no such answer.
        """

        def write(db: Database) -> None:
            fits = number.bit_length() < 64  # no database has a larger one
            found = fits and db.row(
                "SELECT role FROM messages JOIN conversations ON id = conversation WHERE id = ? "
                "AND owner = ? AND number = ? AND role = 'assistant'",
                (conversation, user, number),
            )
            if not found:
                raise Problem(404, "no_message", f"there is no answer {number}")
            db.execute("DELETE FROM feedback WHERE message = ?", (number,))
            if said is not None:
                row = (number, said.rating, said.comment, said.correction, time.time())
                db.execute("INSERT INTO feedback VALUES (?, ?, ?, ?, ?)", row)

        await self._state.do(write)

    async def all(self, user: str | None = None) -> list[RatedAnswer]:
        """All answers that were rated, the latest rating first.

        Args:
            user: Only those of this user.
        """
        rows = await self._state.do(
            lambda db: db.rows(
                "SELECT owner, conversation, feedback.created AS rated, rating, comment, "
                "correction, text, about, (SELECT text FROM messages AS question WHERE "
                "question.conversation = messages.conversation AND role = 'user' AND "
                "question.number < messages.number ORDER BY question.number DESC LIMIT 1) "
                "AS question FROM feedback JOIN messages ON number = message "
                "JOIN conversations ON id = conversation WHERE owner = coalesce(?, owner) "
                "ORDER BY rated DESC",
                (user,),
            )
        )
        return [_rated(row, json.loads(row["about"])) for row in rows]


_SAID = ("rating", "comment", "correction")


def feedback_of(row: Row) -> Feedback | None:
    """What a row says that has the table's columns; None where there is no rating."""
    return None if row["rating"] is None else Feedback(**{name: row[name] for name in _SAID})


def _rated(row: Row, about: dict[str, Any]) -> RatedAnswer:
    fields = RatedSource.model_fields
    return RatedAnswer(
        **{name: row[name] for name in _SAID},
        user=row["owner"],
        conversation=row["conversation"],
        run=about.get("run"),
        created=row["rated"],
        question=about.get("query") or row["question"] or "",
        answer=row["text"],
        sources=[
            RatedSource(**{name: one.get(name) for name in fields} | {"path": one.get("path", "")})
            for one in about.get("sources", [])
        ],
    )
