"""Runs that are kept: started, stopped, resumed, listed and drawn at a shell."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.cli import command

# Each command is a process of its own: what one leaves is all that the next one knows.
rag = functools.partial(command.rag, process=True)
BRICK = """
from rag import operator

@operator(writes="answer")
def echo(query: str, *, fails: bool = False) -> str:
    if fails and not __import__("pathlib").Path("mended").exists():
        raise OSError("not mended")
    return query.upper()
"""
PIPELINE = """
name: approval
steps:
  - {use: "brick:echo"}
  - interrupt: {message: Send this answer?, edit: [answer]}
  - loop: {max_turns: 2}
    body: {use: "brick:echo", fails: true, inputs: {query: answer}}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "brick.py").write_text(BRICK)
    (tmp_path / "rag.yaml").write_text(PIPELINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def test_a_run_waits_is_edited_fails_and_is_finished(place: Path) -> None:
    begin = ("run", "-i", "query=hello", "--allow-import", "brick")
    assert "nothing would store the run" in rag(*begin, cwd=place, code=2)
    said = rag(*begin, "--checkpoint", cwd=place, code=7)
    assert "waiting: interrupt: Send this answer?" in said
    assert "answer: HELLO" in said
    (listed,) = json.loads(rag("runs", "--json", cwd=place))
    run = listed["run"]
    assert (listed["status"], listed["waits_for"]) == ("waiting", "Send this answer?")
    assert f"rag resume {run} [--set answer=...]" in said
    assert "may not be set" in rag("resume", run, "--set", "query=x", cwd=place, code=2)
    assert "not mended" in rag("resume", run, "--set", "answer=bye", cwd=place, code=6)
    assert "failed" in rag("runs", cwd=place)
    (place / "mended").touch()
    finished = json.loads(rag("resume", run, "--json", cwd=place))
    assert finished == {"query": "hello", "answer": "BYE"}
    values = ("runs", run, "--values", "--allow-import", "brick")
    shown = json.loads(rag(*values, "--json", cwd=place))
    assert [step["place"] for step in shown["steps"]] == [
        "echo", "interrupt", "loop@1/echo", "loop@2/echo",
    ]  # fmt: skip
    answers = [step["writes"]["answer"] for step in shown["steps"]]
    assert answers == ["HELLO", "bye", "BYE", "BYE"]
    assert "answer: BYE" in rag(*values, cwd=place)
    assert "ms in 2 runs" in rag("show", "--run", run, cwd=place)
    rag("show", "--run", run, "--svg", "run.svg", cwd=place)
    assert "ms in 2 runs" in (place / "run.svg").read_text()
    rag("runs", run, "--delete", cwd=place)
    assert json.loads(rag("runs", "--json", cwd=place)) == []
    assert "there is no run" in rag("resume", run, cwd=place, code=4)


def test_without_runs_it_says_how_to_keep_one(tmp_path: Path) -> None:
    assert "rag run --checkpoint" in rag("runs", cwd=tmp_path, code=4)


def test_the_schema_is_one(tmp_path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(rag("schema", cwd=tmp_path)))
