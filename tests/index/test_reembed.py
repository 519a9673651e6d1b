"""An index embedded again by another model: by any kill it loses nothing, and answers meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from rag.errors import IndexStateError
from rag.index import Index
from rag.index.address import address_of
from rag.index.ingest import reembed as reembedding
from rag.index.ingest.ingest import ingest
from rag.index.ingest.plan import plan
from rag.index.ingest.reembed import FILE, reembed
from rag.index.local.address import FolderAddress
from rag.index.postgres.address import PostgresAddress
from rag.index.qdrant.address import QdrantAddress
from rag.index.store import Address
from rag.locks import FileLock
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk
from tests.index.kills import killed_runs
from tests.index.test_ingest import cut, paragraphs

KILLS = 12
At: TypeAlias = Callable[[str], Address]


class Other(ScriptedEmbedder):
    id = "other"


@pytest.fixture(params=["folder", "postgres", "qdrant"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> At:
    """Indexes by name, in each kind of store."""
    if request.param == "folder":
        return lambda name: address_of(tmp_path / name)
    if request.param == "qdrant":
        return lambda name: QdrantAddress("", tmp_path / "qdrant", name)
    url, run = request.getfixturevalue("postgres"), uuid.uuid4().hex
    return lambda name: PostgresAddress(url, f"{name}_{run}")


def fill(
    address: Address | Path, docs: Path, embedder: ScriptedEmbedder, late: bool = False
) -> None:
    def split(documents: Any) -> list[Chunk]:
        return [one.updated(pooled_within="d") if late else one for one in cut(documents)]

    with closing(Index.writer(address, embedder=embedder.id, dim=embedder.dim)) as index:
        todo = plan([docs], index, "c")
        ingest(todo, index, embedder, split=split, fingerprint="c")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.md").write_text(paragraphs(*range(number, number + 4)))
    return folder


def found(address: Address | Path, embedder: ScriptedEmbedder) -> list[tuple[str, float]]:
    query = embedder.embed_query("lock3 keeper")
    with closing(Index.open(address)) as index:
        hits = index.dense(query, 100, embedder=embedder.id)
        return [(hit.chunk.text, round(hit.score, 5)) for hit in hits]


@pytest.mark.parametrize("late", [False, True])
def test_it_is_as_if_it_had_always_been_the_other(docs: Path, at: At, late: bool) -> None:
    fill(at("index"), docs, ScriptedEmbedder(dim=16), late)
    fill(at("other"), docs, Other(dim=24), late)
    told: list[tuple[int, int]] = []
    made = reembed(at("index"), Other(dim=24), lambda *two: told.append(two))
    assert (made, told[-1]) == (24, (24, 24))
    assert found(at("index"), Other(dim=24)) == found(at("other"), Other(dim=24))
    with closing(Index.open(at("index"))) as index:
        assert index.verify() == []
        assert len(index.sparse("lock3", 100)) == 4
        assert not list(index.folder.glob("reembed*"))
    assert reembed(at("index"), Other(dim=24)) == 0


def test_equal_texts_are_embedded_once(docs: Path, tmp_path: Path) -> None:
    (docs / "copies").mkdir()
    shutil.copy(docs / "0.md", docs / "copies" / "0.md")
    fill(tmp_path / "index", docs, ScriptedEmbedder(dim=16))
    embedder = Other(dim=16)
    assert reembed(address_of(tmp_path / "index"), embedder) == len(embedder.texts) == 24
    assert len(found(tmp_path / "index", embedder)) == 28


def test_the_old_index_answers_and_is_written_until_the_switch(
    docs: Path, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "BATCH", 8)
    old, address = ScriptedEmbedder(dim=16), at("index")
    fill(address, docs, old)
    before = found(address, old)
    reader = Index.open(address)

    def meanwhile(done: int, _: int) -> None:
        if done == 8:
            assert found(address, old) == before
            (docs / "new.md").write_text(paragraphs(77))
            (docs / "0.md").write_text(paragraphs(88))
            fill(address, docs, old)

    reembed(address, Other(dim=16), meanwhile)
    texts = {text for text, _ in found(address, Other(dim=16))}
    assert {paragraphs(77), paragraphs(88), paragraphs(5)} <= texts
    with pytest.raises(IndexStateError, match="embedded again, with other") as caught:
        reader.dense(old.embed_query("lock3"), 3)
    assert "open it again" in str(caught.value.fix)
    reader.close()


def test_a_writer_of_the_old_embedder_is_refused_after_the_switch(docs: Path, at: At) -> None:
    """On a server it may be open all the time; in a folder the lock keeps it out."""
    address = at("index")
    fill(address, docs, ScriptedEmbedder(dim=16))
    if not isinstance(address, FolderAddress):
        with closing(Index.writer(address, embedder="scripted", dim=16)) as writer:
            reembed(address, Other(dim=16))
            with pytest.raises(IndexStateError, match="embedded again, with other"):
                writer.delete([next(writer.sources()).uri])
    else:
        reembed(address, Other(dim=16))
    with pytest.raises(IndexStateError, match="made with other"):
        fill(address, docs, ScriptedEmbedder(dim=16))
    assert len(found(address, Other(dim=16))) == 24


def test_what_fails_in_the_switch_leaves_the_old_vectors(docs: Path, at: At) -> None:
    address = at("index")
    fill(address, docs, ScriptedEmbedder(dim=16))
    before = found(address, ScriptedEmbedder(dim=16))

    def embed(chunks: Sequence[Chunk]) -> np.ndarray:
        raise KeyboardInterrupt

    writer = Index.writer(address, embedder="scripted", dim=16)
    with closing(writer), pytest.raises(KeyboardInterrupt):
        writer.embed_again("other", 24, embed)
    assert found(address, ScriptedEmbedder(dim=16)) == before
    assert reembed(address, Other(dim=24)) == 24


def test_another_process_that_does_the_same_is_refused(docs: Path, tmp_path: Path) -> None:
    fill(tmp_path / "index", docs, ScriptedEmbedder(dim=16))
    with (
        FileLock(tmp_path / "index" / f"{FILE}.lock"),
        pytest.raises(IndexStateError, match="another process embeds"),
    ):
        reembed(address_of(tmp_path / "index"), Other(dim=16))


def test_what_was_made_for_a_third_model_is_forgotten(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Other):
        id = "third"

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            if self.batches:
                raise KeyboardInterrupt
            return super().embed(texts)

    monkeypatch.setattr(reembedding, "BATCH", 8)
    folder = tmp_path / "index"
    fill(folder, docs, ScriptedEmbedder(dim=16))
    with pytest.raises(KeyboardInterrupt):
        reembed(address_of(folder), Failing(dim=16))
    assert found(folder, ScriptedEmbedder(dim=16))
    assert reembed(address_of(folder), Other(dim=16)) == 24


def test_killed_at_any_call(docs: Path, tmp_path: Path) -> None:
    fill(tmp_path / "start", docs, ScriptedEmbedder(dim=16))
    fill(tmp_path / "calm", docs, Other(dim=24))
    names = [f"killed{number}" for number in range(KILLS)]
    for name in ("counted", *names):
        shutil.copytree(tmp_path / "start", tmp_path / name)
    path = ":".join(entry for entry in (str(Path(__file__).parents[2]), *sys.path) if entry)
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= KILLS - 3
    made = []
    for name in names:
        with closing(Index.open(tmp_path / name)) as index:
            here = index.embedder
        embedder = ScriptedEmbedder(dim=16) if here == "scripted" else Other(dim=24)
        assert len(found(tmp_path / name, embedder)) == 24
        made.append(reembed(address_of(tmp_path / name), Other(dim=24)))
        assert found(tmp_path / name, Other(dim=24)) == found(tmp_path / "calm", Other(dim=24))
    assert any(0 < one < 24 for one in made)


if __name__ == "__main__":
    reembedding.BATCH = 4
    killed_runs(Path(sys.argv[1]), lambda folder: reembed(address_of(folder), Other(dim=24)), KILLS)
