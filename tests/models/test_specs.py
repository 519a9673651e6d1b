"""What pipelines may say of models and other resources, and what is absent."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel

from rag.connect.sql import Database
from rag.connect.vector_stores import Store
from rag.errors import ConfigError, RagError
from rag.flow.resources import Resource, Use, parse
from rag.models import LLM, NLI, CrossEncoder, Embedder, SparseEncoder
from rag.models.embedder import EmbedderSpec
from rag.models.llm import LLMSpec
from rag.models.resource import ModelSpec

ROOT = Path(__file__).parents[2]
FAKE_LLM = "langchain_core.language_models.FakeListChatModel"
KINDS: list[type[Resource]] = [
    LLM, Embedder, CrossEncoder, NLI, SparseEncoder, Database, Store,
]  # fmt: skip


@pytest.mark.parametrize("kind", [LLM, Embedder, CrossEncoder, NLI, SparseEncoder])
def test_a_string_is_the_models_name(kind: type[Resource]) -> None:
    parsed = parse(kind, "someone/model")
    assert isinstance(parsed, ModelSpec)
    assert parsed.model == "someone/model"
    assert parse(kind, {"model": "someone/model"}) == parsed


@pytest.mark.parametrize(
    ("kind", "spec", "near"),
    [
        (LLM, {"model": "x", "widnow": 100}, "window"),
        (LLM, {"model": "x", "thread": 2}, "threads"),
        (Embedder, {"model": "x", "batchsize": 2}, "batch_size"),
        (CrossEncoder, {"model": "x", "modle": "y"}, "model"),
        (Database, {"path": "x", "second": 2}, "seconds"),
    ],
)
def test_a_misspelt_field_names_the_nearest(kind: type[Resource], spec: Any, near: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {near!r}") as caught:
        kind.load(spec)
    assert kind.__name__ in caught.value.what


@pytest.mark.parametrize(
    ("kv", "where", "fix"),
    [
        ({"dsk": "x"}, "kv", "did you mean 'disk'"),
        ({"disk": {"path": "x", "max_bytes": "much"}}, "kv.disk.max_bytes", "512MB"),
        (3, "kv", "{memory: 512MB, disk: ./kv}"),
    ],
)
def test_the_store_of_states_is_validated_with_the_model(kv: Any, where: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(LLM, {"model": "x", "kv": kv})
    assert caught.value.where == where
    assert fix in str(caught.value.fix)
    assert parse(LLM, {"model": "x", "kv": "./kv"}).kv.disk.path == Path("kv")
    assert parse(LLM, {"model": "x", "kv": None}).kv is None


@pytest.mark.parametrize(
    ("kind", "spec", "what"),
    [
        (LLM, {"model": "x", "window": 0}, "window is 0"),
        (LLM, {"model": "x", "window": "many"}, "window is 'many'"),
        (LLM, {"model": "x", "weights": "int3"}, "weights is 'int3'"),
        (LLM, {"window": 100}, "needs the field 'model'"),
        (Embedder, {"model": "x", "batch_size": -1}, "batch_size is -1"),
        (Embedder, 3, "describes no Embedder"),
        (Database, {"path": "x", "seconds": 0}, "seconds is 0"),
        (Database, 3, "describes no Database"),
        (NLI, ["x"], "describes no NLI"),
    ],
)
def test_a_wrong_value_is_one_clear_error(kind: type[Resource], spec: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        kind.load(spec)
    assert caught.value.fix
    problem = kind.absent(spec, base=Path())
    assert problem is not None
    assert what in problem.what


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: type[Resource]) -> None:
    assert kind.Spec is not None
    schema = kind.Spec.model_json_schema()
    assert schema["description"]
    assert all(one.get("description") for one in schema["properties"].values())
    assert kind.shorthand is None or kind.shorthand in schema["properties"]


@pytest.mark.parametrize(
    ("kind", "spec", "what"),
    [
        (LLM, "./nowhere", "no such folder"),
        (LLM, "lost.gguf", "no such GGUF file"),
        (LLM, {"model": "package:nothing_like_it"}, "not installed"),
        (Embedder, "empty", "contains no model"),
        (LLM, {"use": "langchain_nowhere.Chat"}, "cannot be imported"),
        (LLM, {"use": "langchain_core.language_models.NoChat"}, "cannot be imported"),
        (LLM, {"use": "langchain_core.embeddings.DeterministicFakeEmbedding"}, "BaseChatModel"),
        (Embedder, {"use": FAKE_LLM}, "not a Embeddings"),
        (Embedder, {"use": "os.system"}, "not in a package of LangChain"),
        (CrossEncoder, "package:nothing_like_it", "not installed"),
        (NLI, "./nowhere", "no such folder"),
        (SparseEncoder, "./nowhere", "no such folder"),
        (Database, "lost.sqlite", "no file"),
        (Database, "empty", "no file"),
        (Store, {"use": "langchain_core.nowhere.Store"}, "cannot be imported"),
        (Store, {"use": "langchain_qdrant.QdrantVectorStore", "embedding": "./no"}, "no such fol"),
        (
            Store,
            {
                "use": "langchain_postgres.PGVectorStore.create_sync",
                "engine": {"use": "langchain_postgres.NoEngine"},
            },
            "cannot be imported",
        ),
    ],
)
def test_what_is_absent_is_an_error(
    kind: type[Resource], spec: Any, what: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    problem = kind.absent(spec, base=tmp_path)
    assert isinstance(problem, RagError)
    assert what in str(problem)
    assert problem.fix


def test_what_is_there_is_not_absent(tmp_path: Path, embedder: Embedder) -> None:
    (tmp_path / "port.sqlite").touch()
    there: list[tuple[type[Resource], Any]] = [
        (LLM, LLM.default),
        (LLM, {"use": FAKE_LLM, "responses": ["yes"]}),
        (LLM, FakeListChatModel(responses=["yes"])),
        (LLM, "someone/on-the-hub"),
        (Embedder, Embedder.default),
        (Embedder, embedder),
        (Embedder, DeterministicFakeEmbedding(size=4)),
        (Database, {"path": str(tmp_path / "port.sqlite")}),
        (Database, "port.sqlite"),
        (
            Store,
            {
                "use": "langchain_qdrant.QdrantVectorStore.from_existing_collection",
                "embedding": Embedder.default,
                "collection_name": "book",
                "path": "./qdrant",
            },
        ),
    ]
    assert [kind.absent(spec, base=tmp_path) for kind, spec in there] == [None] * len(there)


def test_a_parsed_or_an_open_resource_is_taken_as_it_is(embedder: Embedder) -> None:
    assert Embedder.load(embedder) is embedder
    assert Embedder.load(EmbedderSpec(model=Embedder.default, batch_size=2)).id == embedder.id
    assert parse(LLM, LLMSpec(model="x", window=5)) == LLMSpec(model="x", window=5)
    made = LLM.load(Use(use=FAKE_LLM, responses=["yes"]))
    assert made.id == "FakeListChatModel"
    assert LLM.load(made) is made


def test_the_well_known_resources_are_classes_with_a_specification() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["rag.resources"]
    kinds: dict[str, Any] = {}
    for name, place in points.items():
        module, _, attribute = place.partition(":")
        kinds[name] = getattr(importlib.import_module(module), attribute)
        assert issubclass(kinds[name], Resource)
    assert {name: kinds[name] for name in ("llm", "embedder", "nli", "store")} == {
        "llm": LLM, "embedder": Embedder, "nli": NLI, "store": Store,
    }  # fmt: skip


def test_every_resource_of_an_operator_is_well_known() -> None:
    from rag.flow.registry import Registry
    from rag.operators import CATALOGUE

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["rag.resources"]
    for name in CATALOGUE:
        for port in Registry()[name].signature().resources:
            module, _, attribute = points[port.name].partition(":")
            kind = getattr(importlib.import_module(module), attribute)
            fits = issubclass(kind, port.type) or port.type.__name__ == "IndexWriter"
            assert fits, (name, port.name)


def test_importing_the_protocols_loads_no_model_library() -> None:
    heavy = ("torch", "transformers", "sentence_transformers", "langchain_openai", "faiss", "numpy")
    code = f"import sys, rag.models; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
