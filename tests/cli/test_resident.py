"""`rag up`: a process answers that has the same code and settings, and nobody else's questions."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.cli import handshake
from rag.cli.handshake import Asked, Refused, exchange
from rag.cli.resident import Resident, questions, raised, told
from rag.errors import BuildError, ConfigError, IndexStateError
from tests.cli.command import _here, rag

TALK = """\
name: talk
resources:
  llm: {use: langchain_core.language_models.FakeListChatModel, responses: [Two.]}
steps: [{use: generate, system: "${say:Answer.}"}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A pipeline's folder, in which the test works, and a folder of sockets of its own."""
    (tmp_path / "rag.yaml").write_text(TALK)
    monkeypatch.chdir(tmp_path)
    runtime = tempfile.mkdtemp(prefix="rag")  # a socket's path must be short
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    yield tmp_path
    shutil.rmtree(runtime)


@pytest.fixture
def resident(folder: Path) -> Iterator[Resident]:
    """One that answers in a thread."""
    found = Resident(Asked(None, [], []), None)
    thread = threading.Thread(target=found.serve, args=(found.listen(),))
    thread.start()
    yield found
    if thread.is_alive():
        list(exchange(found.asked, {"stop": 1}))
    thread.join()
    assert not found.asked.socket.exists()


def ask(folder: Path, *more: str) -> tuple[str, str]:
    code, out, err = _here(("ask", "How many?", "--verbose", *more), folder, "")
    assert code == 0, err
    return out, err


def test_it_answers_as_the_command_itself_would(folder: Path, resident: Resident) -> None:
    out, err = ask(folder)
    assert f"answered by the resident process {os.getpid()}" in err
    list(exchange(resident.asked, {"stop": 1}))
    alone, said = ask(folder)
    assert "is not used: none runs" in said
    assert out == alone == "Two.\n\n"


def test_a_trace_comes_from_there_too(folder: Path, resident: Resident) -> None:
    assert "[user] How many?" in ask(folder, "--trace")[1]


def test_only_its_user_can_open_the_socket(resident: Resident) -> None:
    mode = stat.S_IMODE(resident.asked.socket.stat().st_mode)
    assert mode == 0o600
    assert stat.S_IMODE(resident.asked.socket.parent.stat().st_mode) == 0o700


def test_a_folder_that_is_open_to_others_is_not_used(folder: Path) -> None:
    handshake.runtime_folder().chmod(0o777)
    with pytest.raises(Refused, match="open to other users"):
        list(exchange(Asked(None, [], []), {"ping": 1}))


@pytest.mark.parametrize("change", ["pipeline", "environment", "code", "files"])
def test_it_is_not_used_where_anything_differs(
    change: str, folder: Path, resident: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change == "pipeline":
        (folder / "rag.yaml").write_text(TALK.replace("Two.", "Five."))
    elif change == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", "another")
        resident.digest = "of before"  # it has the same environment: it is this process
    elif change == "code":
        monkeypatch.setattr(handshake, "code_digest", lambda: "other")
    else:
        monkeypatch.setattr(resident, "_changed", lambda: True)
    out, err = ask(folder)
    assert "is not used: its code, pipeline or environment is another one" in err
    assert out.startswith("Five." if change == "pipeline" else "Two.")


def test_another_parameter_folder_or_variable_is_another_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Asked(None, [], [])
    assert plain.socket != Asked(None, ["say=Be brief."], []).socket
    assert plain.socket == Asked("rag.yaml", [], []).socket
    before = plain.digest
    monkeypatch.setenv("COLUMNS", "33")
    assert plain.digest == before
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    assert plain.digest != before
    (folder / "rag.yaml").write_text(TALK.replace("Answer", "${env:MINE:Answer}"))
    named = plain.digest
    monkeypatch.setenv("MINE", "Speak")
    assert plain.digest != named


def test_down_ends_it(folder: Path, resident: Resident) -> None:
    assert rag("down", cwd=folder) == f"down (process {os.getpid()})\n"
    assert rag("down", cwd=folder) == "none was up\n"


def test_it_ends_when_nobody_asks(folder: Path) -> None:
    found = Resident(Asked(None, [], []), 0.01)
    found.serve(found.listen())
    assert not found.asked.socket.exists()


def test_it_reads_a_file_that_the_pipeline_includes_again(folder: Path) -> None:
    (folder / "inner.yaml").write_text(TALK)
    (folder / "rag.yaml").write_text("name: outer\nsteps: [{flow: inner.yaml}]\n")
    found = Resident(Asked(None, [], []), None)
    assert not found._changed()
    (folder / "inner.yaml").write_text(TALK.replace("Two.", "Five."))
    assert found._changed()


def test_what_ends_before_the_answer_is_an_error_and_not_asked_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(asked: Asked, message: object) -> Iterator[tuple[str, object]]:
        yield "resident", 1
        yield "token", "Tw"
        raise Refused("it ended before it had answered")

    monkeypatch.setattr("rag.cli.resident.exchange", torn)
    found = questions(Asked(None, [], []), "How many?", trace=False)
    assert [next(found), next(found)] == [("resident", 1), ("token", "Tw")]
    with pytest.raises(Exception, match="gave up: it ended"):
        next(found)


def test_errors_cross_the_socket_with_their_kind_code_and_fix() -> None:
    one = IndexStateError("gone", where="./index", fix="rag ingest")
    again = raised(told(one))
    assert (type(again).__name__, again.exit_code) == ("IndexStateError", 4)
    assert str(again) == str(one)
    several = raised(told(BuildError([one, ConfigError("wrong")])))
    assert isinstance(several, BuildError)
    assert [type(each).__name__ for each in several.problems] == ["IndexStateError", "ConfigError"]


@pytest.mark.slow
def test_up_starts_a_process_and_down_ends_it(folder: Path) -> None:
    assert rag("up", cwd=folder).startswith("up (process ")
    try:
        assert rag("up", cwd=folder).startswith("up already (process ")
        out, err = ask(folder)
        assert "answered by the resident process" in err
        assert out == "Two.\n\n"
    finally:
        assert rag("down", cwd=folder).startswith("down (process ")


def test_up_says_why_it_cannot(folder: Path) -> None:
    (folder / "rag.yaml").write_text("resources: {llm: ./no}\nsteps: [{use: generate}]\n")
    said = rag("up", "--foreground", cwd=folder, code=5)
    assert "there is no such folder" in said


def test_a_folder_whose_path_is_too_long_for_a_socket_is_an_error_with_a_fix(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / ("long" * 30)))
    resident = Resident(Asked(None, [], []), None)
    with pytest.raises(ConfigError, match="XDG_RUNTIME_DIR"):
        resident.listen()
    assert "is not used" in ask(folder)[1]
