"""What a trace shows of a step: rankings, what was left out, prompts, reuse by chunk."""

from __future__ import annotations

from langchain_core.documents import Document

from rag.flow.place import Place
from rag.flow.run.record import Call, Occurrence
from rag.flow.run.values import DOCUMENTS, details


def document(name: str, score: float) -> Document:
    return Document(
        f"Text of {name}.", id=name,
        metadata={"path": f"{name}.md", "score": score, "scores": {"bm25": 7.25, "rerank": score}},
    )  # fmt: skip


def test_candidates_are_shown_before_and_after_with_scores_and_what_was_left_out() -> None:
    a, b, c = document("a", 0.25), document("b", 0.5), document("c", 0.125)
    one = Occurrence(
        Place.parse("rerank"),
        0.0,
        {"query": "what?", "documents": [a, b, c]},
        {"documents": [b, a]},
    )
    assert list(details(one)) == [
        'query = "what?"',
        "documents = 3 documents",
        "    1    0.250  a.md  (bm25 7.250, rerank 0.250)",
        "    2    0.500  b.md  (bm25 7.250, rerank 0.500)",
        "    3    0.125  c.md  (bm25 7.250, rerank 0.125)",
        "-> documents = 2 documents",
        "    1    0.500  b.md  (bm25 7.250, rerank 0.500)",
        "    2    0.250  a.md  (bm25 7.250, rerank 0.250)",
        "left out: 1 document",
        "         0.125  c.md  (bm25 7.250, rerank 0.125)",
    ]


def test_a_long_ranking_is_cut_and_rankings_side_by_side_are_counted() -> None:
    many = [document(str(number), 1.0) for number in range(DOCUMENTS + 3)]
    one = Occurrence(Place.parse("rrf"), 0.0, {"documents": [many, many[:1]]}, {"documents": many})
    shown = list(details(one))
    assert shown[0] == f"documents = [{DOCUMENTS + 3} documents, 1 document]"
    assert shown[-1] == "  ... and 3 more"
    assert len(shown) == DOCUMENTS + 3


def test_a_step_that_writes_no_documents_leaves_none_out() -> None:
    one = Occurrence(Place.parse("g"), 0.0, {"documents": [document("a", 1.0)]}, {"answer": "x"})
    assert not any(line.startswith("left out") for line in details(one))


def test_a_call_shows_its_prompt_tokens_seconds_and_reuse_of_each_chunk() -> None:
    reuse = {
        "mode": "blend", "reused": 30, "milliseconds": {"first_token": 12.5},
        "chunks": [{"id": "a", "tokens": 40, "hit": True}, {"id": "b", "tokens": 20, "hit": False}],
    }  # fmt: skip
    call = Call("m", ({"role": "user", "content": "why?"},), "so", 60, 2, 0.5, reuse)
    one = Occurrence(Place.parse("generate"), 0.0, calls=[call])
    assert list(details(one)) == [
        "[user] why?",
        "m (60 + 2 tokens, 0.500 s):",
        "so",
        "reuse: blend, 30 of 60 tokens of chunks",
        '    1 id "a", tokens 40, hit true',
        '    2 id "b", tokens 20, hit false',
        "  first_token 12.5 ms",
    ]
