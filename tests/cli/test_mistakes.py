"""What people do wrong: one message that says what to do, a fitting exit code, no traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, _here

FILES: dict[str, str | bytes] = {
    "typo.yaml": "name: x\nsteps:\n  - {use: dens}\n",
    "field.yaml": "name: x\nsteps:\n  - {use: dense, kk: 3}\n",
    "key.yaml": "name: x\nstpes: [{use: dense}]\n",
    "bad.yaml": "steps: [{use: dense}\nname: x: y\n",
    "tab.yaml": "steps:\n\t- dense\n",
    "bare.yaml": "steps: [dense]\n",
    "latin.yaml": "name: é\nsteps: [{use: dense}]\n".encode("latin-1"),
    "bytes.yaml": bytes(range(256)),
    "empty.yaml": "",
    "list.yaml": "- {use: dense}\n",
    "llm.yaml": "resources: {llm: ./no/model}\nsteps: [{use: generate}]\n",
    "model.yaml": "resources: {llm: package:nothing-of-this-name}\nsteps: [{use: generate}]\n",
    "kind.yaml": "resources: {llm: {modell: x}}\nsteps: [{use: generate}]\n",
    "input.yaml": "steps: [{use: rerank}]\n",
    "store.yaml": "resources: {index: 'mongodb://host/name'}\nsteps: [{use: dense}]\n",
    "typed.yaml": "inputs: {n: int, query: str}\nsteps: [{use: generate}]\n",
    "param.yaml": "steps:\n  - {use: generate, max_tokens: '${most}'}\n",
    "env.yaml": "steps:\n  - {use: generate, system: '${env:NOBODY_SETS_THIS}'}\n",
    "a.md": "text",
    "file": "",
}
WRONG: list[tuple[str, int, str]] = [
    # Pipelines: no file, another kind of file, what is in it.
    ("ask x -c folder", 2, "Is a directory"),
    ("ask x -c none.yaml", 2, "rag init DIR"),
    ("ask x -c hybird", 2, "did you mean 'hybrid'?"),
    (f"ask x -c {'n' * 300}", 2, "file name too long"),
    ("check bad.yaml", 2, "bad.yaml:2: not YAML"),
    ("check tab.yaml", 2, "tab.yaml:2: not YAML"),
    ("check latin.yaml", 2, "it is not UTF-8 text"),
    ("check bytes.yaml", 2, "it is not UTF-8 text"),
    ("check empty.yaml", 2, "start with `steps:`"),
    ("check list.yaml", 2, "start with `steps:`"),
    ("check bare.yaml", 2, "write {use: dense}"),
    ("check typo.yaml", 2, "typo.yaml:3: there is no operator 'dens' fix: did you mean 'dense'?"),
    ("check field.yaml", 2, "did you mean 'k'?"),
    ("check key.yaml", 2, "did you mean 'steps'?"),
    ("check kind.yaml", 2, "did you mean 'model'?"),
    ("check input.yaml", 2, "documents"),
    ("index stats -c store.yaml", 2, "no store is called 'mongodb'"),
    ("check param.yaml", 2, "most"),
    ("check env.yaml", 2, "NOBODY_SETS_THIS"),
    ("check llm.yaml --open", 5, "there is no such folder"),
    ("check model.yaml --open", 5, "is not installed"),
    ("doctor -c hybird", 2, "did you mean 'hybrid'?"),
    # Questions.
    ("ask ' '", 2, "the question is empty"),
    ("ask -", 2, "the question is empty"),
    ("ask", 2, "Missing argument"),
    ("ask Who may open it?", 2, "unexpected extra argument"),
    ("ask x", 4, "rag ingest PATH"),
    # Commands, options, parameters.
    ("aks x", 2, "Did you mean 'ask'"),
    ("nonsense", 2, "No such command"),
    ("--verion", 2, "--version"),
    ("ask x --confg naive", 2, "--config"),
    ("ask x -p k", 2, "NAME=VALUE"),
    ("ask x -c naive -p k=many", 2, "'many'"),
    ("check naive -p kk=3", 2, "did you mean 'k'?"),
    ("run naive -i nothing", 2, "NAME=VALUE"),
    ("run naive -i qery=x", 2, "did you mean 'query'?"),
    ("run naive", 2, "the input 'query' (str) is missing"),
    ("run typed.yaml -i query=x -i n=many", 2, "n='many' is not int"),
    ("operators rerankk", 2, "did you mean 'rerank'?"),
    # Files and folders.
    ("init file", 2, "is a file, not a folder"),
    ("init file/below", 2, "cannot be written"),
    ("init new --pipeline hybird", 2, "did you mean 'hybrid'?"),
    ("init /proc/x", 2, "cannot be written"),
    ("show naive --svg folder", 2, "folder"),
    ("ingest", 2, "Missing argument"),
    ("ingest a.md --on threds:3", 2, "threads"),
    ("ingest nowhere --watch", 2, "no such file or folder"),
    ("index stats", 4, "rag ingest PATH"),
    ("index lst", 2, "Did you mean 'list'"),
    ("index import nowhere", 3, "cannot be read"),
    ("eval retrieval --data .", 2, "qrels"),
    # Runs, keys, servers.
    ("runs", 4, "rag run --checkpoint"),
    ("runs --prune soon", 2, "a valid number"),
    ("resume abc", 4, "rag run --checkpoint"),
    ("keys revoke abc", 2, "there are no keys"),
    ("keys add u --may fly", 2, "fly"),
    ("serve hybird", 2, "did you mean 'hybrid'?"),
    ("serve naive --port many", 2, "port"),
    ("serve naive --port TAKEN", 2, "take another port"),
    ("serve naive --host 0.0.0.0", 2, "rag keys add"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def taken() -> Iterator[str]:
    """A port that somebody listens on."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        yield str(busy.getsockname()[1])


@pytest.mark.parametrize(("line", "code", "what"), WRONG, ids=[line for line, _, _ in WRONG])
def test_a_mistake_gets_one_message_that_says_what_to_do(
    line: str, code: int, what: str, folder: Path, taken: str
) -> None:
    import shlex

    words = [taken if word == "TAKEN" else word for word in shlex.split(line)]
    returned, out, err = _here(tuple(words), folder, "")
    said = " ".join((err + out).replace("│", " ").split())
    assert returned == code, said
    assert what in said
    assert "Traceback" not in said


def installed(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(COMMAND), *args], cwd=folder, env={**os.environ, **environment},
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=240,
    )  # fmt: skip


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=["windows", "C", "ascii"],
)  # fmt: skip
def test_a_screen_that_lacks_letters_shows_question_marks(
    environment: dict[str, str], folder: Path
) -> None:
    (folder / "東京.yaml").write_text("name: 東京\nsteps: [{use: generate}]\n")
    done = installed(folder, "check", "東京.yaml", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b" OK" in done.stdout
    found = installed(folder, "check", "東京.yaml", "--json", **environment)
    assert json.loads(found.stdout)["name"] == "東京"


def test_colours_are_off_where_they_are_not_wanted(folder: Path) -> None:
    done = installed(folder, "aks", "x", NO_COLOR="1", FORCE_COLOR="1")
    assert b"\x1b[3" not in done.stderr


def test_who_reads_no_further_ends_the_command_quietly(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [str(COMMAND), "operators", "--json"], cwd=folder, stdout=writing, stderr=subprocess.PIPE,
        check=False, timeout=240,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_standard_input_is_no_question(folder: Path) -> None:
    for command, code in ((["ask", "-"], 2), (["chat", "-c", "llm.yaml"], 0)):
        shell = ["sh", "-c", '"$@" <&-', "sh", str(COMMAND), *command]
        done = subprocess.run(
            shell, cwd=folder, capture_output=True, check=False, text=True, timeout=240
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == code, done.stderr


def test_ctrl_c_ends_with_its_code_and_no_trace(folder: Path) -> None:
    process = subprocess.Popen(
        [str(COMMAND), "chat", "-c", "llm.yaml"], cwd=folder, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"/help\n")
    process.stdin.flush()
    process.stdout.read(1)  # it waits for a line now, or soon
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert b"Traceback" not in err
    assert process.returncode in (0, 130)
