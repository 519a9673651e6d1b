"""The access log, the audit log and the metrics of a real server."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pythonjsonlogger.json import JsonFormatter

from rag.cli.workers import SETTINGS, worker
from rag.errors import ConfigError
from rag.serve import Settings, app
from rag.serve.http.spans import RequestSpans
from rag.serve.identity.keys import KeyFile
from rag.serve.observe.exchange import Exchange
from rag.serve.observe.logs import configure_logging
from rag.serve.service import Service
from rag.serve.settings.settings import ServeSettings
from tests.cli.command import rag
from tests.serve.conftest import running, sent, toy
from tests.serve.waiting import until

NAMES = ("", "rag", "rag.access", "rag.audit", "uvicorn")


@pytest.fixture
def loggers() -> Iterator[None]:
    """Puts the loggers back as they were."""
    before = {
        name: (one.level, one.handlers[:], one.propagate)
        for name in NAMES
        for one in [logging.getLogger(name)]
    }
    yield
    for name, (level, handlers, propagate) in before.items():
        one = logging.getLogger(name)
        for handler in set(one.handlers) - set(handlers):
            handler.close()
        one.setLevel(level)
        one.handlers[:], one.propagate = handlers, propagate


def lines(text: str, logger: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [one for one in found if one["logger"] == logger]


@pytest.fixture
def key(tmp_path: Path) -> str:
    return KeyFile(tmp_path / "keys.json").add("ann", may=["ask", "upload", "admin"])


def serving(tmp_path: Path, **settings: Any) -> Any:
    made = ServeSettings(data=tmp_path / "data", log_format="json", **settings)
    configure_logging(made)
    service = Service(toy(), made)
    return running(app(toy(), keys=tmp_path / "keys.json", service=service))


def test_each_request_is_a_line_with_user_status_run_and_tokens(
    tmp_path: Path, key: str, loggers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        serving(tmp_path) as address,
        httpx.Client(base_url=address, headers={"X-API-Key": key}) as http,
    ):
        run = http.post("/ask", json={"query": "Ducks"}).headers["X-Run-Id"]
        streamed = http.post("/ask?secret=1", json={"query": "Geese", "stream": True})
        assert sent(streamed.text)[-1][0] == "done"
        httpx.post(f"{address}/ask", json={"query": "Ducks"})
        http.get("/no%0Asuch%20path")
        http.get("/health")
    seen = lines(capsys.readouterr().err, "rag.access")
    about = [(one["method"], one["path"], one["status"], one["user"]) for one in seen]
    assert about == [
        ("POST", "/ask", 200, "ann"),
        ("POST", "/ask", 200, "ann"),
        ("POST", "/ask", 401, None),
        ("GET", "/no%0Asuch%20path", 404, None),
    ]
    assert seen[0]["run"] == run
    assert seen[0]["pipeline"] == "toy"
    # the line of a stream is written at its end
    assert [one.get("run_status") for one in seen] == ["done", "done", None, None]
    assert seen[1]["run"] == streamed.headers["X-Run-Id"]
    assert all(one["client"] == "127.0.0.1" and one["seconds"] > 0 for one in seen)
    assert seen[0]["tokens"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", seen[0]["timestamp"])


def test_who_asked_uploaded_and_deleted_is_in_the_audit_log(
    tmp_path: Path, key: str, loggers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "logs" / "audit.jsonl"
    with (
        serving(tmp_path, audit_log=str(file), access_log=False) as address,
        httpx.Client(base_url=address, headers={"X-API-Key": key}) as http,
    ):
        first = http.post("/conversations").json()["id"]
        asked = http.post("/ask", json={"query": "Ducks", "conversation": first})
        http.delete(f"/conversations/{first}").raise_for_status()
        file.rename(tmp_path / "rotated.jsonl")
        http.post("/conversations")
        http.delete("/conversations").raise_for_status()
        assert http.delete(f"/conversations/{first}").status_code == 404
    before = lines((tmp_path / "rotated.jsonl").read_text(), "rag.audit")
    assert [(one["deed"], one["user"], one["client"]) for one in before] == [
        ("ask", "ann", "127.0.0.1"),
        ("delete_conversation", "ann", "127.0.0.1"),
    ]
    assert before[0]["run"] == asked.headers["X-Run-Id"]
    assert before[0]["conversation"] == before[1]["conversation"] == first
    (after,) = lines(file.read_text(), "rag.audit")
    assert (after["deed"], after["number"]) == ("delete_conversations", 1)
    assert file.stat().st_mode & 0o077 == 0
    assert "Ducks" not in (tmp_path / "rotated.jsonl").read_text()
    assert capsys.readouterr().err == ""


def test_what_is_deleted_of_an_answer_is_in_the_audit_log(
    tmp_path: Path, key: str, loggers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        serving(tmp_path, audit_log="-", access_log=False) as address,
        httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=30) as http,
    ):
        first = http.post("/conversations").json()["id"]
        body = {"query": "Ducks", "conversation": first}
        run = http.post("/ask", json=body).headers["X-Run-Id"]
        question, answer = http.get(f"/conversations/{first}").json()["messages"]
        rating = f"/conversations/{first}/messages/{answer['number']}/feedback"
        http.put(rating, json={"rating": "bad"}).raise_for_status()
        http.delete(rating).raise_for_status()
        http.post("/ask", json=body | {"instead_of": question["number"]}).raise_for_status()
        http.delete(f"/runs/{run}").raise_for_status()
        assert http.delete(f"/runs/{run}").status_code == 404
    _, unrated, again, deleted = lines(capsys.readouterr().err, "rag.audit")
    about = {"user": "ann", "client": "127.0.0.1", "conversation": first}
    assert (
        unrated.items() >= {"deed": "delete_feedback", "answer": answer["number"], **about}.items()
    )
    assert again.items() >= {"deed": "ask", "instead_of": question["number"], **about}.items()
    assert (deleted["deed"], deleted["user"], deleted["run"]) == ("delete_run", "ann", run)


def test_texts_that_are_embedded_are_in_the_audit_log(
    tmp_path: Path, real: Any, loggers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ServeSettings(data=tmp_path / "data", log_format="json", audit_log="-", access_log=False)
    configure_logging(made)
    key = KeyFile(tmp_path / "keys.json").add("ann")
    with running(app(real, keys=tmp_path / "keys.json", service=Service(real, made))) as address:
        body = {"model": "real", "input": ["a secret", "another one"]}
        done = httpx.post(
            f"{address}/v1/embeddings", json=body, headers={"X-API-Key": key}, timeout=60
        )
        assert done.status_code == 200
    said = capsys.readouterr().err
    (line,) = lines(said, "rag.audit")
    assert (line["deed"], line["user"], line["texts"]) == ("embed", "ann", 2)
    assert "secret" not in said


def test_keys_that_are_made_and_revoked_are_in_the_audit_log(
    tmp_path: Path, loggers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    made = rag("keys", "add", "ann", "--audit-log", "audit.jsonl", cwd=tmp_path).strip()
    (record,) = KeyFile(tmp_path / ".rag" / "keys.json").records()
    monkeypatch.setenv("RAG_SERVE_AUDIT_LOG", "audit.jsonl")
    rag("keys", "revoke", record.id, cwd=tmp_path)
    rag("keys", "revoke", record.id, cwd=tmp_path, code=2)
    text = (tmp_path / "audit.jsonl").read_text()
    found = [(one["deed"], one["user"], one["by"], one["key"]) for one in lines(text, "rag.audit")]
    assert found == [
        ("add_key", "ann", "root", record.id), ("revoke_key", "ann", "root", record.id),
    ]  # fmt: skip
    assert made not in text


def test_uploads_are_in_the_audit_log_too(
    tmp_path: Path, library: Path, real: Any, loggers: None
) -> None:
    file = tmp_path / "audit.jsonl"
    made = ServeSettings(data=tmp_path / "data", audit_log=str(file))
    configure_logging(made)
    service = Service(real, made)
    key = KeyFile(tmp_path / "keys.json").add("ann", collections=["ann"], may=["upload", "admin"])
    with (
        running(app(real, keys=tmp_path / "keys.json", service=service)) as address,
        httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=30) as http,
    ):
        (one,) = http.post("/documents", files={"files": ("a.md", b"# A\n\nA swan.\n")}).json()
        until(lambda: http.get(f"/documents/{one['id']}").json()["status"] == "ready")
        http.delete(f"/documents/{one['id']}").raise_for_status()
        metrics = http.get("/metrics").text
    upload, delete = lines(file.read_text(), "rag.audit")
    assert upload.items() >= {
        "deed": "upload", "user": "ann", "document": one["id"], "file": "a.md",
        "collection": "ann", "bytes": 13,
    }.items()  # fmt: skip
    assert (delete["deed"], delete["document"]) == ("delete_document", one["id"])
    assert 'rag_uploads_total{status="ready"} 1.0' in metrics
    assert "rag_ingested_bytes_total 13.0" in metrics
    assert "rag_ingested_chunks_total 1.0" in metrics
    assert "rag_ingest_seconds_count 1.0" in metrics
    assert "ann" not in metrics


def test_questions_are_in_the_audit_log_if_a_setting_says_so(
    tmp_path: Path, key: str, loggers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, audit_log="-", audit_questions=True) as address:
        httpx.post(f"{address}/ask", json={"query": "Ducks"}, headers={"X-API-Key": key})
    (line,) = lines(capsys.readouterr().err, "rag.audit")
    assert line["query"] == "Ducks"


def test_lines_of_text_cannot_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rag.access"):
        Exchange("GET", "/x", '/a b\n"', user='eve" status=200\nline', status=404).log()
    (line,) = caplog.messages
    assert "path=/a%20b%0A%22 status=404" in line
    assert "\n" not in line
    assert "user='eve\" status=200\\nline'" in line
    assert "client=- " in line


def test_probes_are_logged_as_details(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rag.access"):
        Exchange("GET", "/rag/health", "/rag/health").log()
    assert not caplog.messages
    with caplog.at_level(logging.DEBUG, "rag.access"):
        Exchange("GET", "/rag/health", "/rag/health").log()
    assert len(caplog.messages) == 1


def test_an_audit_log_that_cannot_be_written_is_an_error(tmp_path: Path, loggers: None) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="the audit log cannot be written"):
        configure_logging(ServeSettings(audit_log=str(tmp_path / "file" / "audit.jsonl")))


def test_metrics_count_requests_runs_tokens_and_the_process(tmp_path: Path, real: Any) -> None:
    service = Service(real, Settings(data=tmp_path / "data"))
    key = KeyFile(tmp_path / "keys.json").add("ann", may=["ask", "admin"])
    with (
        running(app(real, keys=tmp_path / "keys.json", service=service)) as address,
        httpx.Client(base_url=address, headers={"X-API-Key": key}, timeout=60) as http,
    ):
        answer = http.post("/ask", json={"query": "Who may open the north lock?"}).json()
        http.get("/runs/0123456789abcdef0123456789abcdef")
        http.request("BREW", "/nowhere/at/all")
        text = http.get("/metrics").text
    values = dict(re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE))
    used = answer["usage"]
    assert float(values['rag_prompt_tokens_total{pipeline="real"}']) == used["prompt_tokens"] > 0
    written = values['rag_completion_tokens_total{pipeline="real"}']
    assert float(written) == used["completion_tokens"] > 0
    assert values['rag_model_calls_total{pipeline="real"}'] == "1.0"
    assert values['rag_runs_total{pipeline="real",status="done"}'] == "1.0"
    counted = 'rag_http_requests_total{method="%s",route="%s",status="%d"}'
    assert values[counted % ("POST", "/ask", 200)] == "1.0"
    assert values[counted % ("GET", "/runs/{run}", 404)] == "1.0"
    assert values[counted % ("other", "", 404)] == "1.0"
    assert values['rag_http_request_seconds_count{method="POST",route="/ask"}'] == "1.0"
    assert float(values["rag_kv_cache_memory_bytes"]) >= 0
    assert float(values["process_resident_memory_bytes"]) > 2**20
    assert float(values["process_open_fds"]) > 3
    assert values["rag_runs_waiting"] == values["rag_runs_running"] == "0.0"
    assert str(os.getcwd()) not in text  # noqa: PTH109
    assert "ann" not in text
    assert "nowhere" not in text


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that ask for traces, of which none is sent before the end of the tests."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")


def test_each_worker_of_a_server_logs_and_traces(
    tmp_path: Path, loggers: None, collected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = ServeSettings(data=tmp_path, pipelines=("naive",), log_format="json", audit_log="-")
    monkeypatch.setenv(SETTINGS, made.model_dump_json())
    served = worker()
    assert RequestSpans in [one.cls for one in served.user_middleware]
    (lines,) = logging.getLogger().handlers
    assert isinstance(lines.formatter, JsonFormatter)
    assert logging.getLogger("rag.audit").handlers == [lines]


def test_the_worker_of_uploads_logs_and_traces(
    tmp_path: Path, loggers: None, collected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Service] = []

    async def ingest(service: Service) -> None:
        seen.append(service)

    monkeypatch.setattr("rag.serve.worker.ingest_uploads", ingest)
    options = ["--data", str(tmp_path / "data"), "--log-format", "json"]
    rag("worker", "naive", *options, cwd=tmp_path)
    assert seen[0].tracer is not None
    assert isinstance(logging.getLogger().handlers[0].formatter, JsonFormatter)
