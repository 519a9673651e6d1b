"""Settings of the server: by option, variable and file; where each comes from; never a secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest
import typer
from pydantic import TypeAdapter, ValidationError

from rag.cli.main import app
from rag.errors import ConfigError
from rag.serve.identity.limits import UserLimits
from rag.serve.settings.origin import described, option, serve_settings, shown, variable
from rag.serve.settings.settings import PREFIX, ServeSettings, Settings
from tests.cli.command import rag

OTHERS: dict[str, object] = {
    "logo": "logo.svg", "title": "Handbook", "trace": False,
    "settings": "settings.yaml", "pipelines": ("naive", "hybrid"), "param": ("k=5",),
    "allow_import": ("mine",), "host": "::1", "keys": "keys.json", "data": "elsewhere",
    "cors": ("https://a.example",), "allow_host": ("a.example", "b.example"),
    "oidc_issuer": "https://a.example", "oidc_audience": ("rag", "web"),
    "oidc_algorithms": ("ES256",), "oidc_user": "email", "oidc_groups": "roles",
    "oidc_collections": "rooms", "oidc_permissions": "scope", "oidc_permission": ("boss=admin",),
    "public_url": "https://rag.example", "sources_in_text": True,
    "redis": "redis://h", "state": "postgresql://h/d", "max_upload": "5MiB",
    "trusted_proxies": ("10.0.0.1", "10.0.0.2"), "audit_log": "audit.jsonl",
}  # fmt: skip


def other(name: str) -> object:
    """A value that is not the setting's default."""
    field = ServeSettings.model_fields[name]
    if isinstance(field.default, bool):
        return not field.default
    choices = [one for one in get_args(field.annotation) if isinstance(one, str)]
    return choices[-1] if choices else OTHERS.get(name, 7)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(lines: str) -> str:
    Path("settings.yaml").write_text(lines)
    return "settings.yaml"


def as_text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", ServeSettings.model_fields)
def test_every_setting_is_a_variable_and_a_line_of_the_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "settings":
        value = other(name)
        line = list(value) if isinstance(value, tuple) else as_text(value)
        from_file = serve_settings({"settings": written(f"{name}: {line}\n")})
        assert from_file.model_dump(exclude={"settings"}) == {
            **ServeSettings().model_dump(exclude={"settings"}),
            name: TypeAdapter(ServeSettings.model_fields[name].annotation).validate_python(
                tuple(value) if isinstance(value, tuple) else as_text(value)
            ),
        }
        monkeypatch.setenv(variable(name), as_text(value))
        from_variable = serve_settings({})
        assert getattr(from_variable, name) == getattr(from_file, name)
        assert getattr(from_variable, name) != ServeSettings.model_fields[name].default
    else:
        monkeypatch.setenv(variable(name), written("port: 1"))
        assert serve_settings({}).port == 1


def test_options_count_before_variables_and_these_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"settings": written("queue: 1\nport: 1\nmax_runs: 1\n"), "queue": "3"}
    monkeypatch.setenv("RAG_SERVE_QUEUE", "2")
    monkeypatch.setenv("RAG_SERVE_PORT", "2")
    monkeypatch.setenv("RAG_SERVE_MAX_RUNS", "")  # as compose files leave what is not set
    found = serve_settings(given)
    assert (found.queue, found.port, found.max_runs) == (3, 2, 1)
    origins = {name: origin for name, _, origin in described(found, given)}
    assert origins["queue"] == "--queue"
    assert origins["port"] == "RAG_SERVE_PORT"
    assert origins["max_runs"] == "settings.yaml:3: max_runs"
    assert origins["concurrency"] == "default"


def test_a_server_in_an_application_does_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAG_SERVE_QUEUE", "2")
    assert Settings().queue == 256
    with pytest.raises(ValidationError):
        Settings(port=1)  # type: ignore[call-arg]


def test_all_that_is_wrong_is_named_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SERVE_QUEUE", "many")
    monkeypatch.setenv("RAG_SERVE_QUEU", "1")
    lines = "port: 70000\nconcurency: 3\nmax_upload: big\n"
    with pytest.raises(ConfigError) as caught:
        serve_settings({"settings": written(lines), "max_runs": "0"})
    said = str(caught.value)
    assert said.startswith("6 settings are wrong\n")
    assert "- RAG_SERVE_QUEU: the variable names no setting\n  fix: did you mean RAG_SER" in said
    assert "- RAG_SERVE_QUEUE: 'many' will not do: " in said
    assert "- settings.yaml:1: port: 70000 will not do: " in said
    assert "- settings.yaml:2: concurency: there is no setting 'concurency'" in said
    assert "did you mean 'concurrency'?" in said
    assert "- settings.yaml:3: max_upload: 'big' will not do: " in said
    assert "- --max-runs: '0' will not do: " in said


@pytest.mark.parametrize(
    ("lines", "what", "where"),
    [
        ("- port: 1\n", "a file of settings is a mapping", "settings.yaml"),
        ("port: [1\n", "not YAML", "settings.yaml:2"),
        ("port: 1\nsettings: more.yaml\n", "cannot name another one", "settings.yaml:2"),
        ("port: 1\nport: 2\n", "not YAML", "settings.yaml:2"),
    ],
    ids=["list", "broken", "another", "twice"],
)
def test_a_file_that_is_wrong_is_one_error(lines: str, what: str, where: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        serve_settings({"settings": written(lines)})
    assert caught.value.where == where


def test_a_missing_file_and_an_empty_one() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        serve_settings({"settings": "nowhere.yaml"})
    assert serve_settings({"settings": written("# nothing\n")}).port == 8000


def test_a_secret_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SERVE_REDIS", "redis://:hunter2@h")
    found = serve_settings({})
    assert "hunter2" not in repr(found) + str([*described(found, {})])
    with pytest.raises(ConfigError) as caught:
        serve_settings({"settings": written("redis: [hunter2]\n"), "redis": ["hunter2"]})
    assert "hunter2" not in str(caught.value)
    assert "--redis" in str(caught.value)


def test_an_address_that_will_not_do_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="give redis://HOST:PORT") as caught:
        UserLimits("redi://:hunter2@h", None, None)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("max_upload", 20 * 2**20), ("max_body", 1234), ("max_upload", 1500)]
)
def test_what_is_shown_can_be_read_again(name: str, value: int) -> None:
    text = shown(name, getattr(Settings(**{name: value}), name))  # type: ignore[arg-type]
    assert getattr(Settings(**{name: text}), name) == value  # type: ignore[arg-type]


def test_the_command_has_an_option_for_each_setting() -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    params = command.get_params(command.make_context("serve", []))
    flags = {flag for one in params for flag in one.opts if flag.startswith("--")}
    expected = {option(name) for name in ServeSettings.model_fields if name != "pipelines"}
    assert flags == expected | {"--show-settings", "--help"}
    assert all(one.help for one in params)


def test_the_command_shows_the_settings_and_their_origins(tmp_path: Path) -> None:
    said = rag(
        "serve", "naive", "--show-settings", "--no-page", "-p", "k=5", "--param", "x=1",
        "--redis", "redis://:hunter2@h", "--max-upload", "5MiB", cwd=tmp_path,
    )  # fmt: skip
    assert "pipelines: naive  # [PIPELINE]...\n" in said
    assert "page: false  # --page\n" in said
    assert "param: k=5,x=1  # --param\n" in said
    assert "redis: (secret)  # --redis\n" in said
    assert "max_upload: 5MiB  # --max-upload\n" in said
    wrong = rag("serve", "--port", "99999", cwd=tmp_path, code=2)
    assert "--port: '99999' will not do" in wrong
