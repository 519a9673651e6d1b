"""Encoders written out: proved once by sentence-transformers, and in packed rows as each alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag.models import Embedder
from rag.models.local.embedder import LocalEmbedder
from rag.models.local.encoder.library import LibraryEncoder
from rag.models.local.encoder.native import NativeEncoder
from rag.models.local.encoder.packing import pack
from rag.models.opening import native_encoder
from tests.operators.tiny import bert

TEXTS = ["The keeper opens the north lock.", "A boat", "", "The gate closes at ten. " * 40]


def saved(
    folder: Path,
    kind: str = "BertModel",
    pooling: str = "mean",
    texts: Sequence[str] = TEXTS,
    **how: Any,
) -> Path:
    """A tiny model of sentence-transformers in a folder, which knows the words of the texts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    options = {"hidden_act": how.pop("hidden_act", "gelu")}
    first = Transformer(str(bert(folder / "bert", kind, texts, **options)), max_seq_length=48)
    modules = [first, Pooling(32, pooling), *([Normalize()] if pooling == "mean" else [])]
    SentenceTransformer(modules=modules, **how).save(str(folder / "model"))
    return folder / "model"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def opened(folder: Path) -> LocalEmbedder:
    found = Embedder.load({"model": str(folder), "dtype": "float32"}, base=Path())
    assert isinstance(found, LocalEmbedder)
    return found


def proofs(cache: Path) -> list[Path]:
    return list(cache.glob("encoder-*.json"))


@pytest.mark.parametrize(
    ("pooling", "how"),
    [
        ("mean", {}),
        ("cls", {"prompts": {"query": "north ", "document": "gate "}}),
        ("mean", {"hidden_act": "relu", "prompts": {"x": "boat "}, "default_prompt_name": "x"}),
        ("cls", {"hidden_act": "gelu_new", "prompts": {"passage": "keeper "}}),
    ],
)
def test_a_model_of_the_family_gives_the_librarys_vectors(
    pooling: str, how: dict[str, Any], tmp_path: Path, cache: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = saved(tmp_path, pooling=pooling, **how)
    ours = opened(folder)
    assert isinstance(ours.encoder, NativeEncoder)
    library = SentenceTransformer(str(folder))
    theirs = LocalEmbedder(LibraryEncoder(library, 2), "theirs")
    assert np.allclose(ours.embed(TEXTS), theirs.embed(TEXTS), atol=1e-5)
    for text in TEXTS:
        assert np.allclose(ours.embed_query(text), theirs.embed_query(text), atol=1e-5)
    for query in (False, True):
        pairs = zip(
            ours.token_vectors(TEXTS, query=query), theirs.token_vectors(TEXTS, query=query),
            strict=True,
        )  # fmt: skip
        assert all(np.allclose(one, other, atol=1e-3) for one, other in pairs)
    assert ours.lengths(TEXTS) == theirs.lengths(TEXTS)
    assert (ours.dim, ours.window) == (theirs.dim, theirs.window)


def test_positions_of_roberta_begin_behind_its_padding(tmp_path: Path, cache: Path) -> None:
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    folder = bert(tmp_path / "words", "BertModel", TEXTS)
    config = transformers.RobertaConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=66, pad_token_id=0, type_vocab_size=1,
    )  # fmt: skip
    torch.manual_seed(1)
    transformers.RobertaModel(config).save_pretrained(folder)
    first = Transformer(str(folder), max_seq_length=48)
    SentenceTransformer(modules=[first, Pooling(32)]).save(str(tmp_path / "model"))
    found = opened(tmp_path / "model")
    assert isinstance(found.encoder, NativeEncoder)
    assert found.encoder.config.first_position == 1


@pytest.mark.parametrize("pooling", ["max", "lasttoken"])
def test_another_pooling_falls_through_and_is_not_compared_again(
    pooling: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, pooling=pooling)
    first = opened(folder)
    assert isinstance(first.encoder, LibraryEncoder)
    monkeypatch.setattr(native_encoder, "_proved", lambda *_: pytest.fail("compared"))
    assert np.allclose(opened(folder).embed(TEXTS), first.embed(TEXTS), atol=1e-6)


def test_a_model_that_computes_otherwise_is_found_out(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag.models.local.encoder import proof

    monkeypatch.setitem(proof._ACTIVATIONS, "gelu", "relu")
    assert isinstance(opened(saved(tmp_path)).encoder, LibraryEncoder)


def other_pooling(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"embedding_dimension": 32, "pooling_mode": "cls"})
    )


def other_weight(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\x3f")


@pytest.mark.parametrize("change", [other_pooling, other_weight])
def test_a_changed_file_is_compared_anew(
    change: Callable[[Path], None], tmp_path: Path, cache: Path
) -> None:
    folder = saved(tmp_path)
    opened(folder)
    opened(folder)
    shutil.move(folder, tmp_path / "moved")
    opened(tmp_path / "moved")
    assert len(proofs(cache)) == 1
    change(tmp_path / "moved")
    opened(tmp_path / "moved")
    assert len(proofs(cache)) == 2


def test_a_damaged_verdict_is_no_obstacle(tmp_path: Path, cache: Path) -> None:
    folder = saved(tmp_path)
    before = opened(folder).embed(TEXTS)
    proofs(cache)[0].write_text("{")
    assert np.allclose(opened(folder).embed(TEXTS), before, atol=1e-5)


def test_the_number_format_may_be_chosen(embedder: LocalEmbedder) -> None:
    spec = {"model": Embedder.default, "dtype": "bfloat16"}
    half = Embedder.load(spec, base=Path())
    exact = Embedder.load({**spec, "dtype": "float32"}, base=Path())
    one, other = half.embed(TEXTS), exact.embed(TEXTS)
    assert half.id == exact.id == embedder.id
    assert not np.allclose(one, other, atol=1e-6)
    assert ((one * other).sum(axis=1) > 0.999).all()


def test_a_later_start_never_imports_the_libraries(embedder: Embedder) -> None:
    """`embedder` has proved the model, if nobody had before."""
    program = (
        "import sys\n"
        "from rag.models import Embedder\n"
        "embedder = Embedder.load(Embedder.default)\n"
        "embedder.embed(['a lock']), embedder.token_vectors(['a lock'])\n"
        "embedder.embed_spans('a lock', [(0, 6)]), embedder.lengths(['a lock'])\n"
        "print({'transformers', 'sentence_transformers'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "set()", done.stderr


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(1, 60))
def test_rows_hold_every_text_once_and_are_bounded(lengths: list[int], room: int) -> None:
    rows = list(pack(lengths, room))
    assert sorted(at for row in rows for at in row.texts) == list(range(len(lengths)))
    for row in rows:
        total = sum(lengths[at] for at in row.texts)
        assert total <= room or len(row.texts) == 1
        spread = [group.length for group in row.groups for _ in range(group.count)]
        assert spread == [lengths[at] for at in row.texts]
        ends = [0, *(group.end for group in row.groups)]
        assert [group.start for group in row.groups] == ends[:-1]
        assert ends[-1] == total
        assert len({group.length for group in row.groups}) == len(row.groups)
