"""Stored responses: which conversation each is in, what was asked for, what was answered."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rag.serve.conversations.conversations import insert_message, title_of
from rag.serve.errors import Problem
from rag.serve.state.database import Database
from rag.serve.state.server_state import ServerState

RESPONSES_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, conversation TEXT NOT NULL
        REFERENCES conversations (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS responses_by_conversation ON responses (conversation);
CREATE TABLE IF NOT EXISTS response_objects (
    id TEXT PRIMARY KEY REFERENCES responses (id) ON DELETE CASCADE,
    asked TEXT NOT NULL, answer TEXT
)
"""


@dataclass(frozen=True)
class StoredResponse:
    """A response as it can be read again.

    Args:
        asked: What was asked for, as `note` was given it.
        answer: The answer's JSON; None: there is none yet, or there was an error.
        status: Of its run; `cancelled` where the run is not known any more.
        error: Problem details of a run that failed.
    """

    asked: dict[str, Any]
    answer: dict[str, Any] | None
    status: str
    error: dict[str, Any] | None


@dataclass(frozen=True)
class InputMessage:
    """A message that a response answers, or that came before it.

    Args:
        number: Of all messages; later ones have higher numbers.
        role: Who says it.
        text: What is said.
        run: Of an answer: the run that gave it; None: a client brought it along.
    """

    number: int
    role: Literal["user", "assistant"]
    text: str
    run: str | None


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

    async def history(self, user: str, previous: str, most: int) -> list[dict[str, str]]:
        """What was said up to a response, for one that continues it and is not stored.

        Args:
            user: Asks.
            previous: The response (its run).
            most: How many of the latest messages.

        Raises:
            Problem: 404, the user has no such response.
        """

        def read(db: Database) -> list[dict[str, str]]:
            conversation, last, _ = _place(db, user, previous)
            rows = db.rows(
                "SELECT role, text AS content FROM messages WHERE conversation = ? "
                "AND number <= ? AND text != '' ORDER BY number DESC LIMIT ?",
                (conversation, last, most),
            )
            return rows[::-1]

        return await self._state.do(read)

    async def note(self, user: str, run: str, conversation: str, asked: Mapping[str, Any]) -> None:
        """Note a response (its run) that was begun.

        Args:
            user: Asks.
            run: Answers.
            conversation: Holds it, so that it can be continued.
            asked: What was asked for; JSON.
        """

        def write(db: Database) -> None:
            db.execute("INSERT INTO responses VALUES (?, ?, ?)", (run, user, conversation))
            row = (run, json.dumps(asked))
            db.execute("INSERT INTO response_objects (id, asked) VALUES (?, ?)", row)

        await self._state.do(write)

    async def answered(self, run: str, answer: str) -> None:
        """Note the answer, as JSON; nothing is noted of a response that was deleted."""
        statement = "UPDATE response_objects SET answer = ? WHERE id = ?"
        await self._state.do(lambda db: db.execute(statement, (answer, run)))

    async def get(self, user: str, run: str) -> StoredResponse:
        """A response.

        Raises:
            Problem: 404, the user has no such response.
        """
        row = await self._state.do(
            lambda db: db.row(
                "SELECT asked, response_objects.answer, record FROM responses "
                "JOIN response_objects ON response_objects.id = responses.id "
                "LEFT JOIN runs ON runs.id = responses.id "
                "WHERE responses.id = ? AND responses.owner = ?",
                (run, user),
            )
        )
        if row is None:
            raise missing_response(run)
        record = json.loads(row["record"] or "{}")
        return StoredResponse(
            json.loads(row["asked"]),
            row["answer"] and json.loads(row["answer"]),
            record.get("status", "cancelled"),
            record.get("error"),
        )

    async def asked(self, user: str, run: str) -> list[InputMessage]:
        """The messages up to the question of a response, oldest first.

        Raises:
            Problem: 404, the user has no such response, or its question was deleted.
        """
        rows = await self._state.do(
            lambda db: db.rows(
                "SELECT number, role, text, about FROM messages WHERE conversation IN "
                "(SELECT conversation FROM responses WHERE id = ? AND owner = ?) ORDER BY number",
                (run, user),
            )
        )
        said: list[InputMessage] = []
        for row in rows:
            by = json.loads(row["about"]).get("run")
            said.append(InputMessage(row["number"], row["role"], row["text"], by))
            if row["role"] == "user" and by == run:
                return said
        raise missing_response(run)

    async def delete(self, user: str, run: str) -> None:
        """Delete a response: its question and answer wherever they stand, and its run.

        A conversation that holds nothing else goes with it. A response that continues this one
        stays, and does not know of it any more.

        Raises:
            Problem: 404, the user has no such response.
        """

        def write(db: Database) -> None:
            held = db.row(
                "DELETE FROM responses WHERE id = ? AND owner = ? RETURNING conversation",
                (run, user),
            )
            if held is None:
                raise missing_response(run)
            db.execute("DELETE FROM runs WHERE id = ? AND owner = ?", (run, user))
            _forget(db, user, run)

        await self._state.do(write)


def missing_response(run: str) -> Problem:
    """The answer to an unknown id."""
    what = f"there is no response 'resp_{run[:64]}'"
    fix = "only what was stored can be read: see its `store`"
    return Problem(404, "response_not_found", what, where="response_id", fix=fix)


def _forget(db: Database, user: str, run: str) -> None:
    """Delete the messages of a run, the titles made of them, and conversations without others."""
    said = db.rows(
        "SELECT number, conversation, text, title FROM messages "
        "JOIN conversations ON conversations.id = conversation WHERE owner = ? AND about LIKE ?",
        (user, f'%"run": "{run}"%'),
    )
    for one in said:
        db.execute("DELETE FROM messages WHERE number = ?", (one["number"],))
        if one["title"] == title_of(one["text"]):
            db.execute("UPDATE conversations SET title = '' WHERE id = ?", (one["conversation"],))
    for name in {one["conversation"] for one in said}:
        # What a client sent before its question is about nothing: no run asked or answered it.
        db.execute(
            "DELETE FROM conversations WHERE id = ? AND NOT EXISTS (SELECT 1 FROM messages WHERE "
            "conversation = conversations.id AND about != '{}')",
            (name,),
        )


def _begun(db: Database, user: str, title: str) -> str:
    name, now = uuid.uuid4().hex, time.time()
    row = (name, user, title, now, now)
    db.execute("INSERT INTO conversations VALUES (?, ?, ?, ?, ?)", row)
    return name


def _continued(db: Database, user: str, previous: str) -> tuple[str, bool]:
    conversation, last, is_latest = _place(db, user, previous)
    if is_latest:
        return conversation, False
    found = db.row("SELECT title FROM conversations WHERE id = ?", (conversation,))
    name = _begun(db, user, found["title"] if found else "")
    db.execute(
        "INSERT INTO messages (conversation, role, text, about, created) SELECT CAST(? AS TEXT), "
        "role, text, about, created FROM messages WHERE conversation = ? AND number <= ? "
        "ORDER BY number",
        (name, conversation, last),
    )
    return name, True


def _place(db: Database, user: str, previous: str) -> tuple[str, int, bool]:
    """The conversation of a response, the number of its answer there, and whether that is last.

    Raises:
        Problem: 404, the user has no such response.
    """
    found = db.row(
        "SELECT conversation FROM responses WHERE id = ? AND owner = ?", (previous, user)
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
    return found["conversation"], answers[-1], answers[-1] == messages[-1]["number"]
