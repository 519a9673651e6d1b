"""The ready-made flows: with the real small model, and with one that forces every branch."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rag.errors import ModelError, StepError
from rag.flow import Flow, load_flow
from rag.flow.run.events import BranchSkipped, LoopTurn
from rag.index import Index
from rag.models import LLM, Embedder
from rag.models.profiles import Profile
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.pipelines import names, path
from rag.testing.llm import ScriptedLLM
from rag.text.abstention import abstains
from tests.pipelines import QUESTION, flow


@pytest.mark.parametrize("name", names())
def test_it_says_what_it_is_for(name: str) -> None:
    text = path(name).read_text()
    head = text[: text.index("\nname:")]
    assert all(line.startswith("# ") for line in head.splitlines())
    assert "Good for:" in head
    assert re.search(r"Cost:", head)
    assert load_flow(text).description


@pytest.mark.parametrize("name", names())
def test_it_runs_with_the_small_model(
    name: str, index: Index, embedder: Embedder, brief: LLM
) -> None:
    result = flow(name, index, embedder, brief).invoke(query=QUESTION)
    assert isinstance(result["answer"], str)
    assert result["answer"].strip()
    assert isinstance(result["citations"], list)


def run(flow: Flow, query: str = QUESTION) -> tuple[dict[str, Any], list[str], int]:
    """The result, the branches left out, and the turns of its loop."""
    events = list(flow.stream(query=query))
    skipped = [event.branch for event in events if isinstance(event, BranchSkipped)]
    turns = max((event.turn for event in events if isinstance(event, LoopTurn)), default=0)
    return events[-1].result, skipped, turns


def test_a_rewritten_question_is_searched_and_not_answered(
    index: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM({"rewrite": "pump P-17", "generate": "240 litres."})
    result, *_ = run(flow("rewrite_retrieve_rerank_read", index, embedder, llm))
    assert result["search"] == "pump P-17"
    assert result["query"] == QUESTION
    assert llm.names == ["rewrite", "generate"]
    assert llm.prompts[-1].question == QUESTION


@pytest.mark.parametrize(
    ("query", "way"),
    [
        ("What is the part number of the pump?", "words"),
        ("Explain why the south lock is closed", "meaning"),
        ("When does it open, and how long?", "both"),
        ("", "both"),
    ],
)
def test_the_question_takes_its_way(query: str, way: str, index: Index, embedder: Embedder) -> None:
    result, skipped, _ = run(flow("routed", index, embedder, ScriptedLLM()), query)
    assert result["route"] == way
    assert set(skipped) == {"words", "meaning", "default"} - {way if way != "both" else "default"}


def test_every_wording_is_searched(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM(
        {"multi_query": "1. Which pump?\n2. What does a visitor pay?\n\n- Which pump?"}
    )
    result, *_ = run(flow("multi_query", index, embedder, llm))
    assert result["queries"] == [QUESTION, "Which pump?", "What does a visitor pay?"]
    assert llm.names == ["multi_query", "generate"]


def test_the_passage_is_searched_for(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM({"hyde": "A visitor pays crowns for the lift, children go free of charge."})
    result, *_ = run(flow("hyde", index, embedder, llm), "price")
    assert result["passages"] == ["A visitor pays crowns for the lift, children go free of charge."]
    assert any("crowns" in document.page_content for document in result["documents"])


def test_an_ensemble_needs_likelihoods(index: Index, embedder: Embedder) -> None:
    with pytest.raises(StepError, match="does not return log-probabilities") as caught:
        flow("replug", index, embedder, ScriptedLLM()).invoke(query=QUESTION)
    assert isinstance(caught.value.__cause__, ModelError)


@pytest.mark.parametrize(
    ("answers", "turns"),
    [(["one", "one"], 2), (["one", "two", "two"], 3), (["one", "two", "three", "four"], 3)],
)
def test_iterations_end_when_the_answer_stays(
    answers: list[str], turns: int, index: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM({"generate": answers})
    result, _, took = run(flow("iter_retgen", index, embedder, llm))
    assert took == turns
    assert result["search"] == f"{QUESTION} {answers[turns - 2]}"


@pytest.mark.parametrize("said", ["Who opens it?", "CLEAR", f"- {QUESTION}"])
@pytest.mark.parametrize("size", ["small", "strong"])
def test_a_question_may_be_clear(said: str, size: Any, index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM({"disambiguate": said, "generate": "The keeper."}, profile=Profile(size=size))
    result, skipped, _ = run(flow("tree_of_clarifications", index, embedder, llm))
    assert llm.names == ["disambiguate", "generate"]
    assert skipped == ["true"]
    assert result["answer"].startswith("The keeper")


MEANINGS = "Who opens the north one?\nWho opens the south lock?"


def test_an_ambiguous_question_is_answered_in_each_meaning_to_a_depth(
    index: Index, embedder: Embedder
) -> None:
    answers: dict[str, Any] = {
        name: [f"{name} {n} of the keeper." for n in range(9)]
        for name in ("generate", "llm_fusion_parts")
    }
    llm = ScriptedLLM({"disambiguate": MEANINGS, "grade_supported": "4", **answers})
    run(flow("tree_of_clarifications", index, embedder, llm))
    # The root and its two children branch; their children are as deep as it goes.
    assert llm.names.count("disambiguate") == 3
    assert llm.names.count("generate") == 4
    assert llm.names.count("llm_fusion_parts") == 3


def test_a_meaning_whose_answer_is_not_supported_is_pruned(
    index: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM(
        {
            "disambiguate": lambda one: MEANINGS if QUESTION in one.question else "CLEAR",
            "generate": lambda one: "The keeper." if "north" in one.question else "A cook.",
            "grade_supported": lambda one: "0" if "cook" in one.question else "4",
        }
    )
    result, *_ = run(flow("tree_of_clarifications", index, embedder, llm), QUESTION)
    assert llm.names.count("grade_supported") == 2
    assert "llm_fusion_parts" not in llm.names, "one answer is left"
    assert result["answer"].startswith("The keeper")


def test_what_the_model_is_sure_of_is_not_looked_up(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM({"next_sentence": ["The keeper.", "And the master.", ""]}, probability=0.9)
    result, skipped, turns = run(flow("flare", index, embedder, llm))
    assert result["answer"].startswith("The keeper")
    assert (turns, skipped) == (3, ["false"] * 3)


def test_what_the_model_is_unsure_of_is_looked_up(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM(
        {"next_sentence": ["Pump lifts much.", "It lifts 240 litres.", "It lifts 240 litres."]},
        probability=[0.1, 0.9],
    )
    result, skipped, turns = run(flow("flare", index, embedder, llm))
    assert skipped == ["true", "false"]
    assert turns == 2
    assert "240 litres" in result["answer"]
    assert "much" not in result["answer"]


def test_an_answer_without_end_ends(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM({"next_sentence": [f"Sentence {n}." for n in range(20)]}, probability=0.9)
    _, _, turns = run(flow("flare", index, embedder, llm))
    assert turns == 8


def test_what_the_model_knows_is_not_retrieved(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM({"knowledge_judge": "The keeper on duty."}, probability=0.99)
    result, skipped, turns = run(flow("self_rag", index, embedder, llm))
    assert result["answer"].startswith("The keeper on duty")
    assert (skipped, turns) == (["false"], 0)
    assert llm.names == ["knowledge_judge"]


@pytest.mark.parametrize(
    ("supported", "useful", "turns"),
    [([0.9], [0.9], 1), ([0.1, 0.9], [0.9], 2), ([0.9], [0.1, 0.9], 2), ([0.1], [0.9], 3)],
)
def test_an_answer_must_be_supported_and_useful(
    supported: list[float], useful: list[float], turns: int, index: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM(
        {"rewrite": ["lock keeper", "harbour master"], "generate": "The keeper."},
        yes={"supported": supported, "useful": useful, "relevant": 0.9},
        probability=0.5,
    )
    result, _, took = run(flow("self_rag", index, embedder, llm))
    assert took == turns
    assert llm.names.count("rewrite") == turns
    assert abstains(result["answer"]) == (supported[-1] < 0.5)


@pytest.mark.parametrize(
    ("verdicts", "best"),
    [
        ([("4", "0"), ("0", "4"), ("0", "0")], "keeper 0"),
        ([("0", "4"), ("4", "1"), ("0", "0")], "keeper 1"),
        ([("0", "0"), ("1", "4"), ("3", "1")], "keeper 2"),
        ([("2", "4"), ("2", "4"), ("1", "4")], None),
    ],
)
def test_the_best_turn_counts_and_nothing_unsupported_is_said(
    verdicts: list[tuple[str, str]], best: str | None, index: Index, embedder: Embedder
) -> None:
    """Supported and useful, as grades of a strong model, turn by turn."""
    llm = ScriptedLLM(
        {
            "generate": [f"The keeper {n}." for n in range(3)],
            "grade_relevant": "4",
            "grade_supported": [supported for supported, _ in verdicts],
            "grade_useful": [useful for _, useful in verdicts],
            "grade_knows": "0",
        },
        profile=Profile(size="strong"),
    )
    result, _, turns = run(flow("self_rag", index, embedder, llm))
    assert turns == 3
    assert result["answer"] == DO_NOT_KNOW if best is None else best in result["answer"]


def test_no_relevant_document_is_no_answer(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM({}, yes={"relevant": 0.0}, probability=0.5)
    result, _, turns = run(flow("self_rag", index, embedder, llm))
    assert turns == 3
    assert result["answer"] == NOTHING_FOUND


@pytest.mark.parametrize(
    ("relevant", "grade", "rewritten"),
    [(0.9, "correct", False), (0.2, "ambiguous", True), (0.1, "incorrect", True)],
)
def test_what_was_found_is_corrected(
    relevant: float, grade: str, rewritten: bool, index: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM({"rewrite": "visitors crowns"}, yes={"relevant": relevant})
    result, skipped, _ = run(flow("crag", index, embedder, llm))
    assert result["grade"] == grade
    assert set(skipped) == {"correct", "ambiguous", "incorrect"} - {grade}
    assert ("rewrite" in llm.names) == rewritten
    texts = [document.page_content for document in result["documents"]]
    assert any("crowns" in text for text in texts) == rewritten
    if grade == "incorrect":
        assert "crowns" in texts[0], "what the other query found replaces what was there"
    else:
        assert any("keeper" in text for text in texts)


def test_answers_are_verified_ranked_criticised_and_fused(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM(
        {
            "generate": ["A cook.", "The keeper on duty.", "The harbour master."],
            "grade_supported": lambda prompt: "0" if "cook" in prompt.question else "4",
            "rank_answers": "2 > 1",
            "critique": ["Too short.", "Nothing."],
            "llm_fusion": "The keeper on duty and the harbour master.",
        },
        profile=Profile(size="strong"),
    )
    result, *_ = run(flow("archon", index, embedder, llm))
    assert set(result["answers"]) == {"The keeper on duty.", "The harbour master."}
    assert result["critiques"] == ["Too short.", "Nothing."]
    assert result["support"] == pytest.approx(1.0)
    fused = next(p for p, name in zip(llm.prompts, llm.names, strict=True) if name == "llm_fusion")
    assert "cook" not in fused.question
    assert fused.question.count("Critique:") == 2
    assert any("keeper" in chunk for chunk in fused.chunks), "it fuses over the documents"
    assert result["citations"]


def decision(tool: str, **arguments: str) -> dict[str, Any]:
    return {"thought": "", "tool": tool, "arguments": arguments}


def test_an_agent_searches_and_computes(index: Index, embedder: Embedder) -> None:
    script = {
        "agent": [
            decision("search", query="pump P-17"),
            decision("calculator", expression="240 * 60"),
            decision("answer"),
        ],
        "generate": "P-17 lifts 240 litres per second, which is 14400 a minute [1][3].",
    }
    llm = ScriptedLLM(script, constrained=True)
    result, *_ = run(flow("agent", index, embedder, llm))
    assert llm.names == ["agent"] * 3 + ["generate"]
    assert [use.status for use in result["tool_uses"]] == ["done", "done"]
    assert result["documents"][-1].page_content == "240 * 60 = 14400"
    assert result["citations"]


def test_what_is_searched_on_the_way_is_condensed(index: Index, embedder: Embedder) -> None:
    script = {
        "agent_reasoning": [decision("search", query="pump P-17"), decision("answer")],
        "reason_in_documents": "Pump P-17 lifts 240 litres per second [1].",
        "generate": "Pump P-17 lifts 240 litres per second [1].",
    }
    llm = ScriptedLLM(script, constrained=True)
    result, *_ = run(flow("search_o1", index, embedder, llm))
    assert llm.names == ["agent_reasoning", "reason_in_documents", "agent_reasoning", "generate"]
    assert not llm.prompts[-1].chunks
    assert "Found so far:\nPump P-17 lifts 240 litres per second [1]." in llm.prompts[-1].question
    assert [one.number for one in result["citations"]] == [1]


def test_where_no_answer_is_supported_none_is_given(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM({"generate": ["A cook.", "A baker.", "A king."], "grade_supported": "0"})
    result, *_ = run(flow("archon", index, embedder, llm))
    assert result["answer"] == DO_NOT_KNOW
    assert "llm_fusion" not in llm.names


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("agent", 2 + 2 + 1),
        ("adaptive", 2),
        ("answer_cache", 1),
        ("archon", 3 + 6 + 10 + 2 + 1),
        ("archon_models", 4 + 8 + 13 + 2 + 1),
        ("best_document", 1),
        ("cached", 1),
        ("cascade", 5 + 1),
        ("chain_of_verification", 3 + 3),
        ("contextual", 1),
        ("crag", 2 + 3),
        ("decomposition", 2 * 3 + 1),
        ("flare", 16),
        ("graph", 1),
        ("hybrid", 1),
        ("hybrid_smoothed", 1),
        ("hyde", 2),
        ("ircot", 5),
        ("iter_retgen", 3),
        ("late_chunking", 1),
        ("longllmlingua", 1 + 3 * 2),
        ("multi_query", 2),
        ("naive", 1),
        ("raptor", 1),
        ("recomp", 2),
        ("replug", 1),
        ("rewrite_retrieve_rerank_read", 2),
        ("routed", 1),
        ("search_o1", 3 + 2 + 1),
        ("self_ask", 4 * 2 + 1),
        ("step_back", 2),
        ("self_rag", 4 + 3 * (2 + 6)),
        ("sure", 2 + 4 * 2),
        ("tree_of_clarifications", 2 + 2 * 2 + 2 * 2 + 2 * (2 + 2 * 2)),
    ],
)
def test_it_costs_no_more_than_its_header_says(
    name: str, calls: int, index: Index, embedder: Embedder
) -> None:
    said: dict[str, Any] = {
        one: [f"{one} {n}.\nAnother {one} {n}.\nA third {one} {n}." for n in range(20)]
        for one in (
            "generate",
            "disambiguate",
            "next_sentence",
            "critique",
            "llm_fusion",
            "llm_fusion_parts",
            "answer_candidates",
            "summarize_for",
            "verification_queries",
        )
    }
    said["next_thought"] = [f"Thought {n}." for n in range(9)]
    said["follow_up"] = [f"Question {n}?" for n in range(9)]
    said["decompose"] = "Who has it?\nWhere is it?\nWhy is it there?"
    # Whatever keeps an answer that is supported costs most then; a loop, if none is.
    supported = 0.1 if name in ("self_rag", "cascade") else 0.9
    llm = ScriptedLLM(said, yes={"relevant": 0.2, "supported": supported}, probability=0.01)
    events = list(flow(name, index, embedder, llm).stream(query=QUESTION))
    scored = 2 * 2 if name == "longllmlingua" else 0  # texts, which have no prompt
    assert len(llm.names) + scored == calls
    assert events[-1].llm_calls == calls


def test_the_cost_of_every_flow_is_tested() -> None:
    (rows,) = [
        mark.args[1]
        for mark in test_it_costs_no_more_than_its_header_says.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    ]
    assert {name for name, _ in rows} == set(names())


def test_what_a_judge_costs_that_is_asked_in_words(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM(
        {"grade_knows": "0", "grade_relevant": "4", "grade_supported": "1", "grade_useful": "4"}
    )
    events = list(flow("self_rag", index, embedder, llm).stream(query=QUESTION))
    assert len(llm.names) == events[-1].llm_calls == 5 + 3 * (2 + 3)
