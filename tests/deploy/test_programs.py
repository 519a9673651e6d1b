"""The files in `deploy/` as the programs see them that read them; those not installed are left out.

`make test-deploy` installs them.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.serve import Settings
from tests.deploy.files import DEPLOY, compose, documents, text
from tests.serve.conftest import Doors, local, running, toy
from tests.serve.waiting import until


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    beside = Path(sys.executable).parent / "hadolint"
    command = str(beside) if beside.exists() else program("hadolint")
    done = subprocess.run(
        [command, "--format", "json", str(DEPLOY / "Dockerfile")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout) == []


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / "rag-serve.service"
    unit.write_text(text("rag-serve.service").replace("/opt/rag/bin/rag", "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    safety = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert safety.returncode == 0, safety.stdout


def test_the_manifest_fits_the_schemas_of_kubernetes() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for one in documents("kubernetes.yaml"):
        validate.validate(one, "1.30", strict=True)


def test_the_compose_file_fits_its_specification() -> None:
    specification = pytest.importorskip("compose_spec")
    found = specification.ComposeSpecification.model_validate(compose())
    assert set(found.services) == {"server", "worker", "postgres", "redis"}


@contextmanager
def proxy(command: list[str], port: int, log: Path) -> Iterator[str]:
    with (
        log.open("wb") as opened,
        subprocess.Popen(command, stdout=opened, stderr=opened) as process,
    ):
        try:
            until(lambda: process.poll() is not None or _listens(port), 30)
            assert process.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nginx(folder: Path, upstream: str, port: int) -> list[str]:
    """The site with plain HTTP in the place of TLS, within a whole configuration."""
    site = text("nginx.conf")
    for old, new in (
        ("server 127.0.0.1:8000;", f"server {upstream};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("    listen [::]:443 ssl;\n", ""),
        ("    ssl_certificate /etc/ssl/rag.example.com.pem;\n", ""),
        ("    ssl_certificate_key /etc/ssl/rag.example.com.key;\n", ""),
    ):
        assert old in site
        site = site.replace(old, new)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}{site}\n}}\n"
    )
    # `-e`: before the configuration is read there is a log already.
    return [program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, upstream: str, port: int) -> list[str]:
    site = text("Caddyfile")
    for old, new in (
        ("{\n\tservers", "{\n\tadmin off\n\tservers"),
        ("\nrag.example.com {", f"\nhttp://127.0.0.1:{port} {{"),
        ("127.0.0.1:8000 {", f"{upstream} {{"),
    ):
        assert old in site
        site = site.replace(old, new)
    (folder / "Caddyfile").write_text(site)
    return [
        program("caddy"),
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        str(folder / "Caddyfile"),
    ]


@pytest.mark.parametrize("kind", [nginx, caddy])
def test_answers_are_streamed_through_a_proxy(
    kind: Any, tmp_path: Path, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(kind.__name__)
    monkeypatch.setenv("HOME", str(tmp_path))
    port, served = free_port(), local(toy(), settings=Settings(data=tmp_path / "data"))
    with (
        running(served) as address,
        proxy(
            kind(tmp_path, address.removeprefix("http://"), port), port, tmp_path / "log"
        ) as front,
        httpx.Client(base_url=front, timeout=30) as http,
    ):
        doors.shut()
        with http.stream("POST", "/ask", json={"query": "Ducks", "stream": True}) as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines()
            # These come while the answer is held.
            assert next(lines) == "event: run"
            while next(lines) != "event: node_finished":
                pass
            assert not doors.cancelled
            doors.open()
            assert "event: done" in [*lines]
        doors.shut()
        with http.stream("POST", "/ask", json={"query": "Geese", "stream": True}) as answer:
            lines = answer.iter_lines()  # a reader that is let go closes the connection
            assert next(lines) == "event: run"
            until(lambda: "Geese" in doors.entered)
        until(lambda: doors.cancelled == ["Geese"])  # who leaves cancels, also behind a proxy
        doors.open()
        assert http.get("/metrics").status_code == 404
        large = {"files": ("a.md", b"x" * (102 * 2**20))}
        assert http.post("/documents", files=large).status_code == 413
        assert httpx.get(f"{address}/metrics").status_code == 200
