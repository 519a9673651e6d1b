"""The index against plain Python over the same data, after any series of writes."""

import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.errors import InputError
from rag.index import Hit, Index, SourceUpdate
from rag.index.filters import parse_filter
from rag.testing.suites.store_filters import ORDER, holds
from rag.text.chunk import Chunk
from tests.index import index_scenario as scenario

keys = st.sampled_from(["a", "b", "dotted.key", "clé"])
scalars = (
    st.integers(-3, 3)
    | st.floats(-2, 2).map(lambda number: number + 0.0)
    | st.sampled_from([2**53 + 1, -(2**63), 0.1, 0.30000000000000004])
    | st.booleans()
    | st.sampled_from(["", "x", "y", "1", "é", 'it\'s "q"'])
)
values = scalars | st.none()
stored = values | st.lists(values | st.just(["x"]), max_size=3) | st.just({"a": 1})
conditions = (
    values
    | st.fixed_dictionaries({}, optional=dict.fromkeys(ORDER, scalars))
    | st.fixed_dictionaries(
        {},
        optional={
            "$eq": values,
            "$ne": values,
            "$in": st.lists(values, max_size=3),
            "$nin": st.lists(values, max_size=3),
        },
    )
)
sources = st.sampled_from(["s0", "s1", "s2"])
flat = st.dictionaries(keys, conditions, max_size=2) | st.fixed_dictionaries(
    {"source": sources | st.fixed_dictionaries({"$in": st.lists(sources | st.integers(0, 1))})}
)
filters = st.recursive(
    flat,
    lambda part: st.fixed_dictionaries(
        {}, optional={"$and": st.lists(part, max_size=2), "$or": st.lists(part, max_size=2)}
    ),
    max_leaves=4,
)
words = st.sampled_from(scenario.WORDS[:5])
chunks = st.tuples(
    st.lists(words, min_size=1, max_size=3).map(" ".join),
    st.dictionaries(keys, stored, max_size=3),
)
operations = (
    st.tuples(st.just("write"), sources, st.lists(chunks, max_size=6))
    | st.tuples(st.just("delete"), sources)
    | st.tuples(st.just("compact"))
    | st.tuples(st.just("reopen"), st.none() | st.lists(keys | st.just("source")))
)


@dataclass
class Model:
    """Every chunk in order of addition: source, text, ordinal among equals, metadata."""

    entries: list[tuple[tuple[str, str, int], dict[str, Any]]] = field(default_factory=list)

    def write(self, uri: str, new: list[tuple[str, dict[str, Any]]]) -> None:
        seen: Counter[str] = Counter()
        wanted = {}
        for text, metadata in new:
            wanted[uri, text, seen[text]] = metadata
            seen[text] += 1
        self.entries = [
            (key, wanted.pop(key, metadata))
            for key, metadata in self.entries
            if key[0] != uri or key in wanted
        ]
        self.entries += wanted.items()


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(operations, max_size=8),
    st.lists(filters, min_size=1, max_size=4),
    st.lists(keys, max_size=3),
)
def test_answers_are_those_of_brute_force(
    series: list[tuple[Any, ...]], wheres: list[dict[str, Any]], declared: list[str]
) -> None:
    model = Model()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        index = scenario.writer(Path(folder), declared)
        reader = Index.open(Path(folder))
        for name, *arguments in series:
            compare_answers(model, reader, wheres[0])  # whose result is cached
            if name == "write":
                uri, new = arguments
                found = [Chunk(text, data) for text, data in new]
                index.write([scenario.update(index, uri, found)])
                model.write(uri, new)
            elif name == "delete":
                index.delete(arguments)
                model.write(arguments[0], [])
            elif name == "compact":
                index.compact()
            else:
                index.close()
                index = scenario.writer(Path(folder), *arguments)
        for where in [{}, *wheres]:
            compare_answers(model, index, where)
            compare_answers(model, reader, where)
        assert reader.verify() == []
        index.close()
        reader.close()


def compare_answers(model: Model, index: Index, where: dict[str, Any]) -> None:
    kept = [
        (source, text)
        for (source, text, _), metadata in model.entries
        if holds(where, metadata | {"source": source})
    ]
    query = scenario.embed("query")
    products = scenario.vectors_of([text for _, text in kept]).astype(np.float64) @ query
    order = sorted(range(len(kept)), key=lambda at: (-np.float32(products[at]), at))
    for k in (1, 3, 100):
        found = index.dense(query, k, where=where)
        assert described(found) == [kept[at] for at in order[:k]]
        scores = [hit.score for hit in found]
        assert scores == pytest.approx([products[at] for at in order[:k]], abs=1e-5)
    wanted = [entry for entry in kept if {"anchor", "bridge"} & set(entry[1].split())]
    everything = index.sparse("anchor Bridges", 100, where=where)
    assert sorted(described(everything)) == sorted(wanted)
    ranked = [d for d in index.sparse("anchor Bridges", 100) if d in everything]
    assert ranked == everything
    assert index.sparse("anchor Bridges", 2, where=where) == everything[:2]


def described(hits: list[Hit]) -> list[tuple[str, str]]:
    return [(hit.chunk.source, hit.chunk.text) for hit in hits]


@pytest.mark.parametrize("allowed", [10, 6_000])
def test_filters_few_and_many_let_through(tmp_path: Path, allowed: int) -> None:
    index = scenario.writer(tmp_path)
    plan = index.plan("s", [Chunk(f"ferry {n}", {"n": n}) for n in range(7_000)])
    vectors = np.random.default_rng(0).standard_normal((7_000, scenario.DIM))
    index.write([SourceUpdate(plan, vectors)])
    where = {"n": {"$gte": 7_000 - allowed}}
    for found in (index.sparse("ferry", 5, where=where), index.sparse("ferry", 9_000, where=where)):
        numbers = [hit.chunk.metadata["n"] for hit in found]
        assert numbers == list(range(7_000 - allowed, 7_000))[: len(found)]
        assert len(found) in (5, allowed)
    assert len(index.dense(scenario.embed("x"), 9_000, where=where)) == allowed
    many = {"n": {"$in": list(range(0, 7_000, 2))}}
    assert len(index.sparse("ferry", 9_000, where=many)) == 3_500


@pytest.mark.parametrize(
    "where",
    [
        {"$xor": []},
        {"$and": {"a": 1}},
        {"a": {"$like": "x"}},
        {"a": {"$in": "text"}},
        {"a": {"$gt": None}},
        {"a": [1]},
        {"a": float("nan")},
        {'a"b': 1},
        {"": 1},
        {"$or": [{"a": 1}] * 501},
        "a = 1",
    ],
)
def test_wrong_filters_are_refused(where: Any) -> None:
    with pytest.raises(InputError):
        parse_filter(where)


@pytest.mark.parametrize("declared", [["year"], []])
def test_a_filter_whose_result_is_cached_follows_later_commits(
    tmp_path: Path, declared: list[str]
) -> None:
    index = scenario.writer(tmp_path, declared)
    reader = Index.open(tmp_path)

    def found(year: int) -> list[str]:
        hits = reader.dense(scenario.embed("x"), 9, where={"year": year, "$or": [{"year": year}]})
        return sorted(hit.chunk.text for hit in hits)

    scenario.put(index, "a", "ferry", "lock", year=1)
    assert (found(1), found(2)) == (["ferry", "lock"], [])
    scenario.put(index, "b", "keel", year=1)
    assert (found(1), found(2)) == (["ferry", "keel", "lock"], [])
    scenario.put(index, "a", "ferry", year=2)
    assert (found(1), found(2)) == (["keel"], ["ferry"])
    index.compact()
    assert (found(1), found(2)) == (["keel"], ["ferry"])
    index.close()


def test_declared_keys_are_those_of_the_last_writer(tmp_path: Path) -> None:
    for declared, expected in ((["year"], {"year"}), (None, {"year"}), (["a", "source"], {"a"})):
        with closing(scenario.writer(tmp_path, declared)) as index:
            scenario.put(index, "a", "ferry", year=1, a="x")
            with index._store.reader.vectors() as (connection, _):
                keys = connection.execute("SELECT DISTINCT name FROM filter_keys, filter_values")
                assert {name for (name,) in keys} == expected


def test_a_damaged_value_of_a_declared_key_is_found_and_made_anew(tmp_path: Path) -> None:
    with closing(scenario.writer(tmp_path, ["year"])) as index:
        scenario.put(index, "a", "ferry", year=1)
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as db, db:
        db.execute("UPDATE filter_values SET value = 2")
    with closing(scenario.writer(tmp_path)) as index:
        assert [one.what for one in index.verify()] == [
            "the values of `filter` are not those of the chunks"
        ]
        index.rebuild()
        assert index.verify() == []
        assert len(index.dense(scenario.embed("x"), 1, where={"year": 1})) == 1
