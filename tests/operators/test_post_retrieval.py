"""Order, choice and compression of what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel

from rag.errors import ConfigError, StepError
from rag.flow import Flow, Operator, load_flow
from rag.flow.run.events import Warned
from rag.models import LLM, Embedder
from rag.models.profiles import Profile
from rag.operators import (
    MMR,
    Compress,
    Dedupe,
    DedupeSemantic,
    ListwiseRerank,
    PointwiseRerank,
    Reorder,
    Rerank,
    RuleRerank,
    SelectContext,
    Threshold,
)
from rag.operators.rankings import permutation
from rag.testing.llm import ScriptedLLM

LOCK = "The north lock may be opened by the keeper on duty and by the harbour master."
LOCK_AGAIN = "The keeper on duty may open the north lock, and so may the harbour master."
PUMP = "Pump P-17 lifts 240 litres per second and is serviced every March."
ICE = "The ice breaker Hedda sails when the ice is thicker than eight centimetres."
LONG = "lock " * 2_000
GREEK = "Ποιος ανοίγει τη βόρεια κλειδαριά;"


def doc(text: str, name: str | None = None, **metadata: Any) -> Document:
    return Document(page_content=text, id=name, metadata=metadata)


def run(
    operator: Operator, documents: list[Document], query: str = "", **resources: Any
) -> tuple[list[Document], list[str]]:
    """What it writes, and its warnings."""
    flow = Flow(operator, inputs={"query": str, "documents": list[Document]}, resources=resources)
    events = list(flow.stream(query=query, documents=documents))
    found: list[Document] = events[-1].result["documents"]
    return found, [event.message for event in events if isinstance(event, Warned)]


def texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def test_mmr_takes_something_else_second(embedder: Embedder) -> None:
    question = "Who may open the north lock?"
    documents = [doc(LOCK), doc(LOCK_AGAIN), doc(PUMP)]
    near, _ = run(MMR(k=2, weight=1), documents, question, embedder=embedder)
    assert {*texts(near)} == {LOCK, LOCK_AGAIN}
    mixed, _ = run(MMR(k=2, weight=0.5), documents, question, embedder=embedder)
    assert texts(mixed)[1] == PUMP
    assert mixed[0].metadata["scores"]["mmr"] == mixed[0].metadata["score"]


def test_mmr_may_go_by_the_scores_so_far(embedder: Embedder) -> None:
    documents = [doc(ICE, score=9.0), doc(LOCK, score=1.0), doc(PUMP, score=8.0)]
    found, _ = run(MMR(relevance="score", weight=1), documents, "north lock", embedder=embedder)
    assert texts(found) == [ICE, PUMP, LOCK]
    unscored = [doc(ICE), doc(LOCK, score=5.0)]
    found, _ = run(MMR(relevance="score", weight=1), unscored, "north lock", embedder=embedder)
    assert texts(found) == [ICE, LOCK]


@pytest.mark.parametrize("query", ["", " ", LONG, GREEK])
def test_mmr_takes_any_query(embedder: Embedder, query: str) -> None:
    documents = [doc(LOCK), doc(PUMP), doc(LOCK)]
    found, _ = run(MMR(k=3), documents, query, embedder=embedder)
    assert sorted(texts(found)) == sorted([LOCK, PUMP])
    assert run(MMR(), [], query, embedder=embedder)[0] == []


def test_dedupe_keeps_the_first_of_the_nearly_same() -> None:
    documents = [
        doc(LOCK, "a"),
        doc(LOCK.upper().replace(" ", "  "), "b"),
        doc(LOCK + " Always.", "c"),
        doc(LOCK_AGAIN, "d"),
        doc("", "e"),
    ]
    found, _ = run(Dedupe(), documents)
    assert [document.id for document in found] == ["a", "d", "e"]
    assert found[0].metadata["duplicates"] == ["b", "c"]
    assert "duplicates" not in documents[0].metadata
    strict, _ = run(Dedupe(threshold=1), documents)
    assert [document.id for document in strict] == ["a", "c", "d", "e"]


def test_dedupe_reads_scripts_without_spaces() -> None:
    one, other = "北閘由值班員和港務長開啟。", "南閘四月至十月早上六時開放。"
    found, _ = run(Dedupe(), [doc(one), doc(one + "\uff01"), doc(other)])
    assert texts(found) == [one, other]


def test_paraphrases_are_the_same_by_embedding(embedder: Embedder) -> None:
    operator = DedupeSemantic(threshold=0.9)
    documents = [doc(LOCK), doc(LOCK_AGAIN), doc(PUMP)]
    assert texts(run(operator, documents, embedder=embedder)[0]) == [LOCK, PUMP]
    assert run(operator, [], embedder=embedder)[0] == []


@pytest.mark.parametrize(
    ("count", "order"), [(0, ""), (1, "a"), (2, "ab"), (5, "acedb"), (6, "acefdb")]
)
def test_the_best_stand_at_both_ends(count: int, order: str) -> None:
    found, _ = run(Reorder(), [doc(name) for name in "abcdef"[:count]])
    assert "".join(texts(found)) == order


def test_threshold_keeps_what_is_good_enough() -> None:
    documents = [
        doc("a", score=0.9, scores={"dense": 0.2}),
        doc("b", score=0.5, scores={"dense": 0.8}),
        doc("c", score=0.1),
    ]
    assert texts(run(Threshold(minimum=0.5), documents)[0]) == ["a", "b"]
    assert texts(run(Threshold(share=0.9), documents)[0]) == ["a"]
    assert run(Threshold(minimum=2), documents) == ([], [])
    found, warnings = run(Threshold(minimum=0.5, by="dense"), documents)
    assert texts(found) == ["b", "c"]
    assert warnings == ["1 of 3 documents have no score of 'dense': kept"]
    below = [doc("x", score=-1.0), doc("y", score=-2.0)]
    assert run(Threshold(share=0.5), below)[0] == below


def test_rules_order_by_metadata() -> None:
    documents = [
        doc("old", date="2019-03-01", lang="de", score=0.8),
        doc("new", date="2024-05-01", lang="de", score=0.5),
        doc("undated", lang="en", score=0.7),
    ]
    found, warnings = run(RuleRerank(by="date"), documents)
    assert (texts(found), warnings) == (["new", "old", "undated"], [])
    found, _ = run(RuleRerank(by="score + (0.2 if lang == 'en' else 0)", k=1), documents)
    assert texts(found) == ["undated"]
    assert texts(run(RuleRerank(by="-rank"), documents)[0]) == ["old", "new", "undated"]
    assert texts(run(RuleRerank(by="len(text)"), documents)[0])[0] == "undated"


def test_a_rule_that_fails_puts_the_document_last() -> None:
    documents = [doc("none"), doc("year", year=1990)]
    found, warnings = run(RuleRerank(by="year + 1"), documents)
    assert texts(found) == ["year", "none"]
    assert len(warnings) == 1
    assert "for 1 of 2 documents" in warnings[0]


def test_a_rule_is_checked_when_it_is_written() -> None:
    with pytest.raises(ConfigError, match="is not an expression"):
        RuleRerank(by="score +")
    with pytest.raises(ConfigError, match="cannot be called"):
        RuleRerank(by="open('x')")


def test_compression_keeps_whole_words_within_the_budget(llm: LLM) -> None:
    documents = [doc(LOCK, "a", path="a.md"), doc(PUMP, "b"), doc("  ", "c")]
    tokens = llm.count(LOCK) + llm.count(PUMP)
    found, _ = run(Compress(ratio=0.5), documents, llm=llm)
    assert {document.id for document in found} <= {"a", "b"}
    for document, whole in ((d, {"a": LOCK, "b": PUMP}[str(d.id)]) for d in found):
        rest = iter(whole.split())
        assert all(word in rest for word in document.page_content.split())
    assert sum(llm.count(text) for text in texts(found)) <= 0.6 * tokens
    assert "P-17" in " ".join(texts(found))
    assert run(Compress(tokens=10_000), documents, llm=llm)[0] == documents[:2]
    assert run(Compress(), [], llm=llm)[0] == []


@pytest.mark.parametrize("settings", [{"ratio": 0.05}, {"tokens": 1}])
def test_a_budget_for_no_word_is_told(llm: LLM, settings: dict[str, Any]) -> None:
    documents = [doc(" "), doc("Krxqzyvbn"), doc("Hvtqzzkwp")]
    found, warnings = run(Compress(**settings), documents, llm=llm)
    assert texts(found) == ["Krxqzyvbn"]
    assert len(warnings) == 1
    assert "no word fits the budget" in warnings[0]


def test_compression_takes_any_script(llm: LLM) -> None:
    text = "北閘由值班員和港務長開啟。南閘四月至十月開放。"
    (found,), _ = run(Compress(ratio=0.5), [doc(text)], llm=llm)
    rest = iter(text)
    assert 0 < len(found.page_content) < len(text)
    assert all(character in rest for character in found.page_content)


def test_compression_needs_likelihoods() -> None:
    llm = LLM.load(FakeListChatModel(responses=["x"]), base=Path())
    with pytest.raises(StepError, match="does not return log-probabilities"):
        run(Compress(), [doc(LOCK)], llm=llm)


def test_pointwise_by_the_likelihood_of_the_question(llm: LLM) -> None:
    documents = [doc(ICE), doc(PUMP), doc(LOCK), doc("later")]
    operator = PointwiseRerank(k=4, depth=3)
    found, _ = run(operator, documents, "Who may open the north lock?", llm=llm)
    assert texts(found)[0] == LOCK
    assert texts(found)[3] == "later"
    assert all(document.metadata["scores"]["pointwise_rerank"] < 0 for document in found[:3])


def test_pointwise_by_yes_or_no() -> None:
    llm = LLM.load(FakeListChatModel(responses=["No", "yes.", "maybe"]), base=Path())
    operator = PointwiseRerank(by="answer")
    found, _ = run(operator, [doc(ICE), doc(LOCK), doc(PUMP)], "Who opens the lock?", llm=llm)
    assert texts(found) == [LOCK, ICE, PUMP], "maybe counts as No"
    assert [document.metadata["score"] for document in found] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("operator", [PointwiseRerank(), ListwiseRerank(window=2, step=1)])
@pytest.mark.parametrize("query", ["", LONG, GREEK])
def test_a_model_reranks_under_any_query(llm: LLM, operator: Operator, query: str) -> None:
    documents = [doc("Locks."), doc("Ice.")]
    found, _ = run(operator, documents, query, llm=llm)
    assert sorted(texts(found)) == ["Ice.", "Locks."]
    assert run(operator, [], query, llm=llm)[0] == []


def test_a_window_carries_the_best_to_the_front() -> None:
    # Windows over places 2-3, 1-2, 0-1: the last document is named first in each.
    llm = LLM.load(FakeListChatModel(responses=["[2] > [1]"]), base=Path())
    documents = [doc(name) for name in "abcd"] + [doc("late")]
    operator = ListwiseRerank(k=5, depth=4, window=2, step=1)
    found, _ = run(operator, documents, "which?", llm=llm)
    assert texts(found) == ["d", "a", "b", "c", "late"]


def test_a_list_is_ordered_by_likelihood(llm: LLM) -> None:
    documents = [doc(text) for text in (ICE, PUMP, LOCK)]
    operator = ListwiseRerank(window=3, step=1)
    first, _ = run(operator, documents, "Who may open the north lock?", llm=llm)
    second, _ = run(operator, documents, "Who may open the north lock?", llm=llm)
    assert first == second
    assert sorted(texts(first)) == sorted(texts(documents))


def test_a_window_that_cannot_slide_is_refused() -> None:
    with pytest.raises(ConfigError, match="step must be less than window"):
        ListwiseRerank(window=5, step=5)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("2 > 1 > 3", [1, 0, 2]),
        ("The ranking is: [3], then [3] and [1].", [2, 0, 1]),
        ("9 > 0 > 2", [1, 0, 2]),
        ("I cannot say.", [0, 1, 2]),
        ("", [0, 1, 2]),
    ],
)
def test_permutations_are_read_tolerantly(text: str, order: list[int]) -> None:
    assert permutation(text, 3) == order


def test_in_a_pipeline_file(embedder: Embedder) -> None:
    flow = load_flow(
        """
        name: order
        inputs: {query: str, documents: "list[Document]"}
        steps:
          - {use: dedupe}
          - {use: mmr, k: 3}
          - {use: rule_rerank, by: year}
          - {use: threshold, minimum: -1}
          - {use: reorder}
        """
    ).with_resources(embedder=embedder)
    documents = [doc(LOCK, year=1), doc(LOCK, year=9), doc(PUMP, year=2), doc(ICE, year=3)]
    found = flow.invoke(query="the north lock", documents=documents)["documents"]
    assert texts(found) == [ICE, LOCK, PUMP]


def test_an_embedder_without_token_vectors_still_orders() -> None:
    embedder = Embedder.load(DeterministicFakeEmbedding(size=16), base=Path())
    documents = [doc(ICE), doc(LOCK), doc(PUMP, scores={"bm25": 3.0})]
    found, warned = run(Rerank(k=3), documents, LOCK, embedder=embedder)
    assert texts(found)[0] == LOCK, "the same text has the same vector"
    assert any("no token vectors" in message for message in warned)


@pytest.mark.parametrize(
    ("profile", "window", "settings", "left"),
    [
        (Profile(), 4096, {}, 4),
        (Profile(), 4096, {"small": 1}, 1),
        (Profile(size="strong"), 4096, {}, 8),
        (Profile(size="strong"), 12_288, {"small": 1}, 12),
        (Profile(size="strong"), 200_000, {}, 16),
        (Profile(size="strong"), 200_000, {"k": 3}, 3),
    ],
)
def test_as_many_documents_are_read_as_suit_the_model(
    profile: Profile, window: int, settings: dict[str, Any], left: int, embedder: Embedder
) -> None:
    llm = ScriptedLLM(window=window, profile=profile)
    step = SelectContext(**{"compress": "none", **settings})
    kept, _ = run(step, [doc(f"{LOCK} {n}") for n in range(20)], LOCK, llm=llm, embedder=embedder)
    assert texts(kept) == [f"{LOCK} {n}" for n in range(left)]


@pytest.mark.parametrize(
    ("size", "compress", "whole"),
    [
        ("small", "auto", False),
        ("strong", "auto", True),
        ("strong", "sentences", False),
        ("small", "none", True),
    ],
)
def test_a_small_model_reads_sentences_and_a_strong_one_documents(
    size: Any, compress: Any, whole: bool, embedder: Embedder
) -> None:
    step = SelectContext(compress=compress, sentences=1)
    llm = ScriptedLLM(profile=Profile(size=size))
    kept, _ = run(step, [doc(f"{PUMP} {LOCK}")], "north lock", llm=llm, embedder=embedder)
    assert texts(kept) == [f"{PUMP} {LOCK}" if whole else LOCK]
