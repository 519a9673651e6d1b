"""What is known of a language model that is not open, and that it is opened once."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rag.errors import ModelError
from rag.flow import Flow, Operator, Resource
from rag.flow.absence import kinds_of, opening
from rag.flow.resources import Resources
from rag.models import LLM, Profiled
from rag.models.opening import llm as opening_llm
from rag.models.opening.profile import Known
from rag.testing import ScriptedLLM


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    """No local model can be opened."""
    monkeypatch.setattr(opening_llm, "open_local", lambda *_: pytest.fail("it was opened"))


def folder(at: Path, **config: Any) -> Path:
    at.mkdir()
    (at / "config.json").write_text(json.dumps(config))
    return at


@pytest.mark.usefixtures("unopened")
def test_a_local_model_is_known_by_its_name_and_configuration(tmp_path: Path) -> None:
    small = folder(tmp_path / "tiny-135m", max_position_embeddings=2048)
    large = folder(
        tmp_path / "nameless", hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        vocab_size=128_000, max_position_embeddings=8192,
    )  # fmt: skip
    one, other = Profiled.load(str(small)), Profiled.load({"model": str(large), "window": 4096})
    assert isinstance(one, Known)
    assert (one.profile.size, one.window) == ("small", 2048)
    assert (other.profile.size, other.window) == ("strong", 4096)


@pytest.mark.usefixtures("unopened")
def test_what_a_pipeline_says_counts(tmp_path: Path) -> None:
    model = folder(tmp_path / "tiny-135m")
    given = {"model": str(model), "profile": {"size": "strong", "window": 512}}
    found = Profiled.load(given)
    assert (found.profile.size, found.window) == ("strong", 512)


def test_a_model_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="no such folder"):
        Profiled.load("./nowhere")


class Looks(Operator):
    writes = "size"

    def run(self, *, llm: Profiled) -> str:
        return llm.profile.size


class Asks(Operator):
    writes = "answer"

    def run(self, size: str, *, llm: LLM) -> str:
        return f"{size} {llm.id}"


def test_an_open_model_serves_both() -> None:
    flow = Flow(Looks() >> Asks(), resources={"llm": ScriptedLLM([])})
    assert flow.invoke(query="?")["answer"].startswith("small ")
    assert kinds_of(flow.needs) == {"llm": LLM}
    assert kinds_of(reversed(flow.needs)) == {"llm": LLM}
    assert [kind for _, kind, _ in opening(flow)] == [LLM]


class Below(Resource):
    closed = 0

    @classmethod
    def open(cls, spec: Any, *, base: Path) -> Any:
        return Above()

    def close(self) -> None:
        type(self).closed += 1


class Above(Below):
    pass


def test_what_was_opened_as_more_is_opened_and_closed_once() -> None:
    resources = Resources({"one": "spec"})
    with closing(resources):
        found = resources.get("one", Below)
        assert resources.get("one", Above) is found
    assert Above.closed == 1
