import threading
from pathlib import Path

import numpy as np
import pytest

from rag.errors import IndexStateError
from rag.index import Hit, Index, Source, SourceUpdate, WriteReport
from rag.text.chunk import Chunk
from tests.index import index_scenario as scenario


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return scenario.writer(tmp_path / "index")


def rows(index: Index) -> dict[str, int]:
    with index._store.reader.database.connection() as connection:
        return dict(connection.execute("SELECT content, row FROM chunks").fetchall())


def texts(hits: list[Hit]) -> list[str]:
    return [hit.chunk.text for hit in hits]


def sources(hits: list[Hit]) -> list[str]:
    return [hit.chunk.source for hit in hits]


def test_empty_index_answers_with_nothing(index: Index) -> None:
    assert index.dense(scenario.embed("x"), 5) == []
    assert index.sparse("anything", 5) == []
    assert index.dense(scenario.embed("x"), 5, where={"a": 1}) == []
    assert index.source("a") is None
    assert list(index.sources()) == []
    assert index.stats().chunks == 0


def test_hits_have_id_metadata_source_and_score(index: Index) -> None:
    scenario.put(index, "dir/a.md", "the ferry crosses", "a lock opens", year=1990)
    (found,) = index.dense(scenario.embed("a lock opens"), 1)
    assert found.chunk.text == "a lock opens"
    assert found.chunk.metadata == {"year": 1990, "source": "dir/a.md"}
    assert found.score == pytest.approx(1)
    (again,) = index.sparse("LOCKS opening", 1)
    assert again.chunk == found.chunk
    assert again.score > 0
    document = again.document("bm25")
    assert (document.id, document.page_content) == (found.chunk.id, "a lock opens")
    score = again.score
    assert document.metadata == {
        "year": 1990, "source": "dir/a.md", "score": score, "scores": {"bm25": score},
    }  # fmt: skip


def test_unchanged_chunks_keep_row_and_vector(index: Index) -> None:
    assert scenario.put(index, "a", "ferry", "lock", "keel") == WriteReport(3, 0, 0)
    before = rows(index)
    chunks = [Chunk(text) for text in ("jetty", "keel", "ferry")]
    assert index.plan("a", chunks).texts == ["jetty"]
    assert index.plan("b", chunks).texts == ["jetty", "keel", "ferry"]
    assert scenario.put(index, "a", "jetty", "keel", "ferry") == WriteReport(1, 2, 1)
    after = rows(index)
    assert set(after) == {"jetty", "keel", "ferry"}
    assert (after["keel"], after["ferry"]) == (before["keel"], before["ferry"])
    assert after["jetty"] > max(before.values())
    assert texts(index.sparse("lock", 5)) == []
    assert index.stats().tombstones == 1


def test_new_metadata_needs_no_vector(index: Index) -> None:
    scenario.put(index, "a", "ferry", page=1)
    assert scenario.put(index, "a", "ferry", page=2) == WriteReport(0, 1, 0)
    assert index.sparse("ferry", 1)[0].chunk.page == 2


def test_a_chunk_under_another_heading_needs_a_vector_and_is_found_by_it(index: Index) -> None:
    chunks = [Chunk("ferry", {"heading": "Boats"})]
    scenario.put(index, "a", "ferry")
    assert index.plan("a", chunks).texts == ["Boats\nferry"]
    scenario.put(index, "b", "ferry", heading="Boats")
    assert texts(index.sparse("boats", 5)) == ["ferry"]


def test_equal_chunks_of_a_source_are_told_apart(index: Index) -> None:
    assert scenario.put(index, "a", "ferry", "ferry", "ferry") == WriteReport(3, 0, 0)
    assert len({hit.chunk.id for hit in index.sparse("ferry", 5)}) == 3
    assert scenario.put(index, "a", "ferry", "ferry") == WriteReport(0, 2, 1)


def test_equal_scores_come_in_order_of_addition(index: Index) -> None:
    for number in range(60):
        scenario.put(index, f"s{59 - number}", "ferry")
    for found in (index.dense(scenario.embed("ferry"), 7), index.sparse("ferry", 7)):
        assert sources(found) == [f"s{59 - n}" for n in range(7)]


def test_sources(index: Index) -> None:
    plan = index.plan("b", [Chunk("ferry")])
    index.write([SourceUpdate(plan, scenario.vectors_of(["ferry"]), "d1", 10, 20)])
    scenario.put(index, "a")
    assert list(index.sources()) == [Source("a", "", 0, 0, 0), Source("b", "d1", 10, 20, 1)]


def test_delete(index: Index) -> None:
    scenario.put(index, "a", "ferry", "lock")
    scenario.put(index, "b", "lock")
    assert index.delete(["a", "unknown"]) == 2
    assert sources(index.dense(scenario.embed("ferry"), 9)) == ["b"]
    assert sources(index.sparse("ferry lock", 9)) == ["b"]


def test_compact_frees_room_and_changes_no_answer(index: Index) -> None:
    scenario.put(index, "a", *(f"ferry number{n}" for n in range(40)))
    scenario.put(index, "a", *(f"ferry number{n}" for n in range(0, 40, 2)))
    before = index.dense(scenario.embed("x"), 30)
    size = index.stats().bytes["vectors"]
    index.compact()
    assert index.dense(scenario.embed("x"), 30) == before
    assert len(index.sparse("ferry", 30)) == 20
    stats = index.stats()
    assert (stats.tombstones, stats.chunks) == (0, 20)
    assert stats.bytes["vectors"] == size // 2
    scenario.put(index, "b", "ferry number1")
    assert sources(index.dense(scenario.embed("ferry number1"), 1)) == ["b"]


def test_a_source_that_was_changed_since_its_plan_stays_as_it_is(index: Index) -> None:
    scenario.put(index, "a", "ferry", "lock")
    stale = [
        scenario.update(index, "a", [Chunk("ferry"), Chunk("keel")]),
        scenario.update(index, "b", [Chunk("ferry")]),
    ]
    index.write([stale[1]])
    scenario.put(index, "c", "jetty")
    index.compact()  # moves vectors, and changes no source
    assert index.write([stale[0]]) == WriteReport(1, 1, 1)
    other = scenario.update(index, "d", [Chunk("inlet")])
    assert index.write([stale[0], other, stale[1]]) == WriteReport(1, 0, 0, ("a", "b"))
    found = sorted(texts(index.dense(scenario.embed("x"), 9)))
    assert found == ["ferry", "ferry", "inlet", "jetty", "keel"]


def test_every_chunk_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is indexed of a chunk is put together once for its id, its vector and BM25."""
    prepared: list[str] = []
    indexed_text = Chunk.indexed_text.fget
    assert indexed_text is not None

    def counted(chunk: Chunk) -> str:
        prepared.append(chunk.text)
        return indexed_text(chunk)

    index = scenario.writer(tmp_path / "index")
    scenario.put(index, "a", "ferry", "lock")
    monkeypatch.setattr(Chunk, "indexed_text", property(counted))
    scenario.put(index, "a", "ferry", "keel", heading="Boats")
    scenario.put(index, "b", "jetty")
    assert prepared == ["ferry", "keel", "jetty"]
    assert sorted(texts(index.sparse("jetty boats", 5))) == ["ferry", "jetty", "keel"]


def test_vectors_of_the_wrong_shape_change_nothing(index: Index) -> None:
    plan = index.plan("a", [Chunk("ferry")])
    for vectors in (np.zeros((2, 16)), np.zeros((1, 3)), np.full((1, 16), np.nan)):
        with pytest.raises(ValueError, match="vectors"):
            index.write([SourceUpdate(plan, vectors)])
    assert index.source("a") is None
    scenario.put(index, "a", "ferry")
    assert len(index.dense(scenario.embed("x"), 9)) == 1


def test_query_text_is_never_syntax(index: Index) -> None:
    scenario.put(index, "a", 'ferry AND "lock')
    for query in ("ferry AND (", '"', "text:ferry^2 -lock", "*", "", "the of", "\ud800 ferry\0"):
        index.sparse(query, 3)
    assert texts(index.sparse("row:1 ferry)", 3)) == ['ferry AND "lock']


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Der Fährmann öffnet die Schleuse", "schleuse"),
        ("Паром переходит реку", "паром"),
        ("渡船在早上七点开", "渡船"),
        ("フェリーは朝に出ます", "フェリー"),
        ("เรือข้ามฟากออกเช้า", "เรือ"),
        ("العبّارة تعبر النهر", "النهر"),
        ("broken \ud800 surrogate\0 text", "surrogate"),
    ],
)
def test_any_language(index: Index, text: str, query: str) -> None:
    scenario.put(index, "a", text)
    scenario.put(index, "b", "something else")
    assert sources(index.sparse(query, 3)) == ["a"]


def test_metadata_that_json_lacks(index: Index) -> None:
    values = {"nan": float("nan"), "path": Path("x"), "nested": [{"deep": float("inf")}], "n": 1}
    scenario.put(index, "a", "ferry", **values)
    (found,) = index.sparse("ferry", 1, where={"n": 1, "path": "x", "nan": None})
    assert found.chunk.metadata["nested"] == [{"deep": None}]


def test_threads_search_while_one_writes(index: Index) -> None:
    scenario.put(index, "a", *scenario.WORDS)
    failures: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                assert texts(index.dense(scenario.embed("ferry"), 1)) == ["ferry"]
                assert len(index.sparse("ferry lock", 50, where={"kept": None})) >= 2
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        scenario.put(index, "b", f"canal {number}", "keel lock")
        if number % 8 == 7:
            index.compact()
    done.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_closed_index_says_so(index: Index) -> None:
    index.close()
    with pytest.raises(IndexStateError, match="closed"):
        index.sparse("ferry", 1)
    with pytest.raises(IndexStateError, match="closed"):
        index.delete(["a"])
    index.close()
