"""`rag chat`: models stay open, earlier turns count, commands help."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.cli.chat import COMMANDS, Conversation
from rag.flow import Flow, load_flow, operator
from tests.cli.command import rag

FAKE = "llm: {use: langchain_core.language_models.FakeListChatModel, responses: [%s]}"
TALK = f"""\
name: talk
inputs: {{query: str, history: "list[dict[str, str]] | None"}}
resources:
  {FAKE % "Two., Three."}
steps: [{{use: generate}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rag.yaml").write_text(TALK)
    return tmp_path


def test_each_line_is_answered_until_the_input_ends(folder: Path) -> None:
    said = rag("chat", cwd=folder, stdin="How many locks?\n\nAnd lifts?\n")
    assert [line for line in said.splitlines() if line] == ["Two.", "Three."]


def test_commands_help_and_quit_asks_nothing_more(folder: Path) -> None:
    said = rag("chat", cwd=folder, stdin="/help\n/quit\nWhat is asked?\n")
    assert all(name in said for name in COMMANDS)
    assert "Two." not in said


def test_a_flow_that_takes_history_gets_what_was_said_until_it_is_forgotten(folder: Path) -> None:
    with load_flow(folder / "rag.yaml") as flow:
        talk = Conversation(flow)
        talk.ask("How many locks?")
        talk.ask("And lifts?")
        assert [turn["content"] for turn in talk.history] == [
            "How many locks?", "Two.", "And lifts?", "Three.",
        ]  # fmt: skip
        assert talk.command("/new")
        assert talk.history == []


def test_the_history_reaches_the_flow_and_its_model_is_opened_once(folder: Path) -> None:
    seen: list[list[dict[str, str]]] = []

    @operator(writes="answer")
    def reply(query: str, history: list[dict[str, str]]) -> str:
        seen.append(list(history))
        return f"{query}!"

    talk = Conversation(Flow(reply(), inputs={"query": str, "history": list[dict[str, str]]}))
    talk.ask("one")
    talk.ask("two")
    earlier = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "one!"}]
    assert seen == [[], earlier]


def test_a_question_is_made_to_stand_alone_where_the_flow_takes_no_history(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text(
        "name: talk\nresources:\n  "
        + FAKE % "The north lock is open., Who may open the north lock?, The keeper."
        + "\nsteps: [{use: generate}]\n"
    )
    with load_flow(tmp_path / "rag.yaml") as flow:
        talk = Conversation(flow)
        talk.ask("Is the north lock open?")
        talk.ask("Who may open it?")
    assert talk.last is not None
    assert talk.last["question"] == "Who may open the north lock?"
    assert talk.last["answer"] == "The keeper."


def test_a_misspelt_command_names_the_right_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with load_flow(folder / "rag.yaml") as flow:
        assert Conversation(flow).command("/sorces")
    assert "did you mean '/sources'?" in capsys.readouterr().err


def test_an_error_ends_a_script_with_its_code_and_leaves_a_person_in_the_chat(
    tmp_path: Path,
) -> None:
    (tmp_path / "rag.yaml").write_text("resources: {llm: ./no}\nsteps: [{use: generate}]\n")
    said = rag("chat", cwd=tmp_path, stdin="What?\n", code=5)
    assert "there is no such folder" in said
