"""What holds for the searches of every store."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from rag.errors import InputError
from rag.index import Index
from rag.index.attention import LearnedAttention
from rag.index.types import Aggregate, Candidates, NamedAggregate
from rag.index.union import ACCESS, RestrictedStore
from rag.testing.suites.store_filters import KEYS, METADATA, SOURCES, filters, holds
from rag.testing.suites.store_fixtures import EMBEDDER, StoreFixtures, put, vector
from rag.text.chunk import Chunk

WORDS = ("anchor", "bridge", "canal", "dredge", "estuary", "ferry", "gauge", "inlet", "jetty")


class StoreSearches(StoreFixtures):
    """Tests of the searches of a store."""

    @pytest.mark.parametrize("indexed", [(), KEYS[:3]])
    def test_filters_mean_what_they_say(self, index: Index, indexed: tuple[str, ...]) -> None:
        """Any filter lets through what plain Python lets through, by vectors and by words."""
        index.index_metadata(indexed)
        for at, uri in enumerate(SOURCES):
            mine = METADATA[at :: len(SOURCES)]
            put(index, uri, *(Chunk(f"ferry {uri} {n}", data) for n, data in enumerate(mine)))
        every = {
            chunk.text: dict(chunk.metadata) for batch in index.batches(500) for chunk in batch
        }
        assert len(every) == len(METADATA)
        query, count = vector("ferry"), len(METADATA)

        @settings(
            max_examples=60,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(filters)
        def check(where: dict[str, Any]) -> None:
            wanted = {text for text, metadata in every.items() if holds(where, metadata)}
            assert {hit.chunk.text for hit in index.dense(query, count, where=where)} == wanted
            assert {hit.chunk.text for hit in index.sparse("ferry", count, where=where)} == wanted

        check()
        for wrong in ({"a": {"$like": "x"}}, {"a": {"$gt": None}}, {"$or": {"a": 1}}, {"a": [1]}):
            with pytest.raises(InputError):
                index.dense(query, 5, where=wrong)

    @pytest.mark.parametrize("indexed", [(), (ACCESS,)])
    def test_documents_of_groups_are_for_these_groups_only(
        self, index: Index, tmp_path: Path, indexed: tuple[str, ...]
    ) -> None:
        """By what `access` names, one group or several; what names none is for nobody."""
        index.index_metadata(indexed)
        of: dict[str, Any] = {
            "open": None, "hr": "hr", "two": ["it", "hr"], "ann": ["ann"], "nobody": [],
            "wrong": {"hr": True}, "nested": [["hr"], {"hr": 1}], "part": ["hrm", "h"],
        }  # fmt: skip
        for name, access in of.items():
            put(index, name, Chunk(f"ferry {name}", {} if access is None else {ACCESS: access}))

        def score(some: Candidates) -> np.ndarray:
            return some.dense

        query = vector("ferry")
        ids = [str(chunk.id) for name in of for chunk in index.of_source(name)]
        with closing(index.address.open()) as store:
            for groups, wanted in (
                ((), {"open"}),
                (("hr", "ann"), {"open", "hr", "two", "ann"}),
                (("it",), {"open", "two"}),
            ):
                seen = RestrictedStore(store, frozenset(groups), tmp_path)
                for hits in (
                    seen.dense(query, 9, {}),
                    seen.sparse("ferry", 9, {"source": {"$ne": ""}}),
                    seen.hybrid("ferry", query, 9, 9, score, {}),
                    seen.dense_sources(query, 9, "max", {}),
                ):
                    assert {hit.chunk.source for hit in hits} == wanted
                assert {chunk.source for chunk in seen.get(ids)} == wanted
                assert {source.uri for source in seen.sources()} == wanted

    def test_the_nearest_come_first(self, index: Index) -> None:
        """By cosine; equal ones in the order in which they were added."""
        random = np.random.default_rng(0)
        texts = [" ".join(random.choice(WORDS, 3)) + f" {n}" for n in range(60)]
        for at in range(0, 60, 6):
            put(index, f"s{59 - at}", *texts[at : at + 6])
        query = vector("ferry bridge")
        cosines = EMBEDDER.embed(texts) @ query
        order = np.argsort(-cosines, kind="stable")
        for k in (1, 7, 100):
            hits = index.dense(query * 3, k)
            assert [hit.chunk.text for hit in hits] == [texts[at] for at in order[:k]]
            assert [hit.score for hit in hits] == pytest.approx(
                cosines[order[:k]].tolist(), abs=1e-4
            )
        for number in range(9):
            put(index, f"t{9 - number}", "mooring")
        wanted = [f"t{9 - number}" for number in range(5)]
        assert [hit.chunk.source for hit in index.dense(vector("mooring"), 5)] == wanted
        assert [hit.chunk.source for hit in index.sparse("mooring", 5)] == wanted

    def test_words_count_by_how_rare_they_are(self, index: Index) -> None:
        """Ranks of BM25; nothing in a query is syntax, and one without words finds nothing."""
        texts = [
            "lock lock lock keel",
            "lock keel anchor",
            "lock " + "filler " * 60,
            "keel",
            "rudder lock",
        ]
        put(index, "a", *texts, *(f"keel number {n}" for n in range(9)))
        assert [hit.chunk.text for hit in index.sparse("lock", 9)] == [
            texts[n] for n in (0, 4, 1, 2)
        ]
        assert index.sparse("rudder keel", 1)[0].chunk.text == texts[4]
        for query in ('"lock', "lock AND (", "lock:* | ! & \\", "lock' --", "lock\0"):
            assert len(index.sparse(query, 9)) == 4
        assert index.sparse("the of and", 9) == index.sparse("?!", 9) == []

    def test_both_searches_are_ordered_by_the_callers_score(self, index: Index) -> None:
        """What either finds, with cosines, words and vectors of all of it."""
        texts = [f"{word} {other} {n}" for n, (word, other) in enumerate(pairwise(WORDS))]
        for n, text in enumerate(texts):
            put(index, f"s{n}", Chunk(text, {"n": n}))
        query = vector("ferry gauge")
        words = {hit.chunk.text: hit.score for hit in index.sparse("ferry gauge", 99)}
        seen: list[Candidates] = []

        def score(some: Candidates) -> np.ndarray:
            seen.append(some)
            return some.dense + 0.1 * some.sparse

        hits = index.hybrid("ferry gauge", query, 4, depth=5, score=score)
        (given_to,) = seen
        assert given_to.vectors.shape == (len(given_to.dense), 16)
        assert np.allclose(given_to.vectors @ query, given_to.dense, atol=1e-5)
        assert len(given_to.dense) >= 5
        scores = EMBEDDER.embed(texts) @ query + [0.1 * words.get(text, 0.0) for text in texts]
        order = np.argsort(-scores, kind="stable")[:4]
        assert [hit.chunk.text for hit in hits] == [texts[at] for at in order]
        assert [hit.parts["bm25"] for hit in hits] == pytest.approx(
            [words.get(texts[at], 0.0) for at in order], abs=1e-4
        )
        only = index.hybrid("ferry gauge", query, 9, depth=9, score=score, where={"n": {"$lt": 2}})
        assert {hit.chunk.metadata["n"] for hit in only} == {0, 1}

    def test_sources_are_found_by_all_of_their_chunks(self, index: Index) -> None:
        """By the mean, by the highest cosine, by attention; each with its nearest chunk."""
        chunks = {
            "a": ["ferry", "anchor bridge"],
            "b": ["ferry canal", "ferry gauge"],
            "c": ["jetty"],
        }
        for uri, texts in chunks.items():
            put(index, uri, *texts)
        query = vector("ferry")
        vectors = {uri: EMBEDDER.embed(texts) for uri, texts in chunks.items()}
        cosines = {uri: mine @ query for uri, mine in vectors.items()}
        wanted = {
            "max": {uri: mine.max() for uri, mine in cosines.items()},
            "mean": {
                uri: mine.sum(axis=0) @ query / np.linalg.norm(mine.sum(axis=0))
                for uri, mine in vectors.items()
            },
            "attention": {
                uri: (mine * np.exp((mine - 1) / 0.1)).sum() / np.exp((mine - 1) / 0.1).sum()
                for uri, mine in cosines.items()
            },
        }
        learned = LearnedAttention(3 * vector("anchor bridge"), 0.2, 0.25, EMBEDDER.id)

        def attended(uri: str) -> float:
            mine = cosines[uri]
            weights = np.exp(mine / 0.2 + vectors[uri] @ learned.weights)
            found = 0.75 * (weights * mine).sum() / weights.sum() + 0.25 * wanted["mean"][uri]
            return float(found)

        wanted["learned"] = {uri: attended(uri) for uri in chunks}
        ways: dict[str, Aggregate] = {name: name for name in get_args(NamedAggregate)}
        for name, aggregate in {**ways, "learned": learned}.items():
            hits = index.dense_sources(query, 3, aggregate=aggregate)
            scores = wanted[name]
            assert [hit.chunk.source for hit in hits] == sorted(
                scores, key=lambda uri: -scores[uri]
            )
            assert [hit.score for hit in hits] == pytest.approx(
                sorted(scores.values())[::-1], abs=1e-4
            )
            nearest = {hit.chunk.source: hit.parts["dense"] for hit in hits}
            assert nearest == pytest.approx(
                {uri: mine.max() for uri, mine in cosines.items()}, abs=1e-4
            )
        only = index.dense_sources(query, 3, where={"source": {"$ne": "b"}})
        assert [hit.chunk.source for hit in only] == ["a", "c"]
