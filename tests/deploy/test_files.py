"""The files in `deploy/` agree with the command, its settings and each other."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ByteSize, TypeAdapter
from ruamel.yaml import YAML

from rag.cli.main import app
from rag.flow import load_flow
from rag.serve.http.documents import FULL_FILES, OVERHEAD
from rag.serve.settings.origin import serve_settings
from rag.serve.settings.settings import PREFIX, ServeSettings
from tests.deploy.files import (
    DEPLOY,
    compose,
    image_environment,
    kubernetes,
    pod,
    seconds,
    text,
    unit,
)

DEFAULTS = ServeSettings()
LARGEST = DEFAULTS.max_upload * FULL_FILES + OVERHEAD
"""Bytes of a request at most."""
PORT = "8000"


def compose_environment() -> dict[str, str]:
    (first, second) = (compose()["services"][name]["environment"] for name in ("server", "worker"))
    assert first == second
    return {name: re.sub(r"\$\{\w+(:[-?][^}]*)?\}", "", value) for name, value in first.items()}


def settings_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    for name in [*os.environ]:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    return serve_settings({})


def test_what_the_image_sets_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings_of(image_environment(), monkeypatch)
    assert (found.host, str(found.port), found.log_format) == ("0.0.0.0", PORT, "json")  # noqa: S104
    assert found.keys is not None  # else it would not listen there
    assert Path("/data") in found.keys.parents
    assert Path("/data") in found.data.parents


@pytest.mark.parametrize("which", ["compose", "kubernetes"])
def test_what_the_services_set_are_settings(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = compose_environment() if which == "compose" else kubernetes("ConfigMap")["data"]
    found = settings_of({**image_environment(), **environment}, monkeypatch)
    assert not found.ingest  # the worker does
    assert found.pipelines == ("/etc/rag/rag.yaml",)
    assert found.state == "postgresql://rag@postgres/rag"
    assert found.keys is not None


def test_the_file_of_settings_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of({}, monkeypatch)
    found = serve_settings({"settings": str(DEPLOY / "serve.yaml")})
    assert str(found.port) == PORT
    (folder,) = unit()["WorkingDirectory"]
    written = (found.data, found.keys, Path(found.audit_log or ""))
    assert all(Path(folder) in Path(str(one)).parents for one in written)
    assert str(DEPLOY / "serve.yaml").endswith(shlex.split(unit()["ExecStart"][0])[-1][-10:])


def test_the_commands_are_there() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    called: list[list[str]] = [
        *(compose()["services"][name]["command"] for name in ("server", "worker")),
        *(one["args"] for one in pod()["containers"]),
        shlex.split(unit()["ExecStart"][0])[1:],
    ]
    assert len(called) == 5
    for name, *options in called:
        command = commands[name]
        known = {
            flag for one in command.get_params(command.make_context(name, [])) for flag in one.opts
        }
        assert {one for one in options if one.startswith("--")} <= known


def test_ports_agree() -> None:
    image = text("Dockerfile")
    found = [
        image_environment()["RAG_SERVE_PORT"],
        *re.findall(r"EXPOSE (\d+)", image),
        *re.findall(r"127\.0\.0\.1:(\d+)/health", image),
        *(one.rpartition(":")[2] for one in compose()["services"]["server"]["ports"]),
        *(str(one["containerPort"]) for c in pod()["containers"] for one in c.get("ports", [])),
        *re.findall(r"^    server 127\.0\.0\.1:(\d+);", text("nginx.conf"), re.MULTILINE),
        *re.findall(r"reverse_proxy 127\.0\.0\.1:(\d+)", text("Caddyfile")),
        *re.findall(r"--port (\d+)", text("nginx.conf") + text("Caddyfile")),
    ]
    assert found == [PORT] * 9


def test_bodies_and_answers_pass_the_proxies() -> None:
    read = TypeAdapter(ByteSize).validate_python
    sizes = [
        *re.findall(r"client_max_body_size (\d+)m;", text("nginx.conf")),
        *re.findall(r"max_size (\d+)MiB", text("Caddyfile")),
        kubernetes("Ingress")["metadata"]["annotations"][
            "nginx.ingress.kubernetes.io/proxy-body-size"
        ].removesuffix("m"),
    ]
    assert len(sizes) == 3
    assert all(read(f"{one}MiB") >= LARGEST for one in sizes)
    waits = [
        *re.findall(r"proxy_read_timeout (\w+);", text("nginx.conf")),
        *re.findall(r"response_header_timeout (\w+)", text("Caddyfile")),
        kubernetes("Ingress")["metadata"]["annotations"][
            "nginx.ingress.kubernetes.io/proxy-read-timeout"
        ],
    ]
    assert [seconds(one) > DEFAULTS.run_timeout for one in waits] == [True] * 3


def test_whoever_stops_the_server_waits_for_it() -> None:
    waits = [
        *unit()["TimeoutStopSec"],
        *(compose()["services"][name]["stop_grace_period"] for name in ("server", "worker")),
        pod()["terminationGracePeriodSeconds"],
    ]
    pause = int(pod()["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert [seconds(one) > DEFAULTS.shutdown_timeout + pause for one in waits] == [True] * 4


def test_the_pipeline_is_one_and_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    written = text("rag.yaml")
    parsed = YAML(typ="safe", pure=True)
    other = kubernetes("ConfigMap", "rag-pipeline")["data"]["rag.yaml"]
    assert parsed.load(other) == parsed.load(written)
    environment = compose_environment()
    assert (
        environment.items()
        >= {
            name: kubernetes("ConfigMap")["data"][name] for name in ("RAG_INDEX", "RAG_STATES")
        }.items()
    )
    for name in ("RAG_INDEX", "RAG_STATES"):
        monkeypatch.setenv(name, environment[name])
    assert load_flow(DEPLOY / "rag.yaml").name == "handbook"


def test_server_and_worker_share_their_folder() -> None:
    first, second = pod()["containers"]
    assert first["volumeMounts"] == second["volumeMounts"]
    volumes = {one["name"] for one in pod()["volumes"]}
    assert {one["name"] for one in first["volumeMounts"]} == volumes
    services = compose()["services"]
    assert services["server"]["volumes"] == services["worker"]["volumes"]
    assert {"data", "postgres"} == set(compose()["volumes"])


def test_probes_ask_what_is_there() -> None:
    server = pod()["containers"][0]
    kinds = ("startupProbe", "livenessProbe", "readinessProbe")
    paths = [server[kind]["httpGet"]["path"] for kind in kinds]
    assert paths == ["/health", "/health", "/ready"]


def test_the_image_installs_extras_that_there_are_and_runs_as_nobody() -> None:
    image = text("Dockerfile")
    (extras,) = re.findall(r'install \./packages/smollm2 "\.\[([\w,]+)\]"', image)
    project: Any = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())
    assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"])
    (user,) = re.findall(r"^USER (\d+)$", image, re.MULTILINE)
    assert user == str(pod()["securityContext"]["runAsUser"]) != "0"
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", image, re.MULTILINE)
    allowed = set(re.findall(r"^!(.+)$", text("Dockerfile.dockerignore"), re.MULTILINE))
    assert {one for line in copied for one in line.split()} == allowed
    assert all((DEPLOY.parent / one).exists() for one in allowed)


def test_no_file_holds_a_password() -> None:
    for path in DEPLOY.iterdir():
        found = re.findall(r"://[^/\s:@]*:[^/\s@$]+@", path.read_text())
        assert not found, path.name
