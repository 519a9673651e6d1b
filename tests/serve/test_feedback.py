"""Feedback: given, changed, taken back, exported; each user's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request

from rag.serve import Identity, Settings, app
from tests.serve.conftest import running, toy


def by_header(request: Request) -> Identity:
    """The user that a header names."""
    user = request.headers["x-user"]
    return Identity(user, may=frozenset({"ask", "admin"} if user == "boss" else {"ask"}))


@pytest.fixture
def people(kept: Settings, client: Any) -> Iterator[dict[str, Any]]:
    with running(app(toy(), identity=by_header, settings=kept)) as address:
        yield {name: client(address, headers={"x-user": name}) for name in ("ann", "bob", "boss")}


def answered(http: Any, query: str) -> tuple[str, int]:
    """A conversation with an answer: its path, and the answer's number."""
    path = f"/conversations/{http.post('/conversations').json()['id']}"
    http.post("/ask", json={"query": query, "conversation": path.rpartition("/")[2]})
    return path, http.get(path).json()["messages"][1]["number"]


def exported(http: Any) -> list[Any]:
    return [json.loads(line) for line in http.get("/feedback").text.splitlines()]


def test_feedback_is_given_changed_and_exported(people: dict[str, Any]) -> None:
    ann, bob, boss = people["ann"], people["bob"], people["boss"]
    path, number = answered(ann, "Books")
    where = f"{path}/messages/{number}/feedback"
    assert ann.put(where, json={"rating": "good"}).status_code == 204
    bad = {"rating": "bad", "comment": "no", "correction": "They stand on shelf 2."}
    assert ann.put(where, json=bad).status_code == 204
    assert ann.get(path).json()["messages"][1]["feedback"] == bad
    assert ann.get(f"{path}/export?format=json").json()["messages"][1]["feedback"] == bad
    assert bob.put(where, json=bad).status_code == 404
    assert ann.put(f"{path}/messages/{number - 1}/feedback", json=bad).status_code == 404
    assert ann.delete(f"{path}/messages/{2**63}/feedback").status_code == 404
    assert ann.put(where, json={"rating": "fine"}).status_code == 422
    other, its = answered(bob, "Maps")
    bob.put(f"{other}/messages/{its}/feedback", json={"rating": "good"})

    (row,) = exported(ann)
    assert row | {"created": 0, "run": "", "conversation": ""} == {
        **bad, "user": "ann", "conversation": "", "run": "", "created": 0, "question": "Books",
        "answer": "Books stand on the shelf [1].",
        "sources": [{"path": "shelf.md", "place": "shelf.md", "cited": True,
                     "quote": "Books stand on the shelf."}],
    }  # fmt: skip
    assert [one["user"] for one in exported(boss)] == ["bob", "ann"]
    assert ann.delete(where).status_code == 204
    assert ann.get(path).json()["messages"][1]["feedback"] is None
    assert exported(ann) == []


def test_feedback_goes_with_what_it_is_about(people: dict[str, Any]) -> None:
    ann = people["ann"]
    for way in ("delete", "edit"):
        path, number = answered(ann, "Books")
        ann.put(f"{path}/messages/{number}/feedback", json={"rating": "good"})
        assert len(exported(ann)) == 1
        if way == "delete":
            ann.delete(path)
        else:
            body = {"query": "Maps", "conversation": path.rpartition("/")[2]}
            ann.post("/ask", json={**body, "instead_of": number - 1})
        assert exported(ann) == []
