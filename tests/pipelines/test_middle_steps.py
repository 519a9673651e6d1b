"""The calls of flows of several steps, and what they make of a step that goes wrong.

A scripted strong model stands for all models of a flow. `SCRIPTS` is a clear success. Each row of
`WRONG` has one step that writes nothing, nonsense, or a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rag.index import Index
from rag.models import Embedder, Prompt
from rag.models.profiles import Profile
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.testing.llm import ScriptedLLM
from rag.text.abstention import abstains
from tests.pipelines import QUESTION, flow, made

KEEPER = "The keeper on duty."
CITED = "The keeper on duty [1]."
FUSED = "The keeper on duty and the harbour master."
NOTHING = {
    "empty": "",
    "nonsense": "\u202e}{ ~~ \U0001f937",
    "refused": "I'm sorry, but I can't help with that.",
}


def tool(name: str, **arguments: str) -> dict[str, Any]:
    return {"thought": "", "tool": name, "arguments": arguments}


def by_answer(prompt: Prompt) -> str:
    return "0" if "cook" in prompt.question or "king" in prompt.question else "4"


def evidence(prompt: Prompt) -> str:
    if "cook" in prompt.question:
        return "A cook is said to open it."
    return "The keeper on duty opens the north lock."


SCRIPTS: dict[str, dict[str, Any]] = {
    "sure": {
        "answer_candidates": "A cook\nThe keeper on duty", "summarize_for": evidence,
        "grade_supported": "4", "rank_answers": "2 > 1",
    },
    "chain_of_verification": {
        "generate": lambda one: "A cook." if one.question == QUESTION else CITED,
        "verification_queries": "Who is on duty?\nWho may open the lock?", "revise": KEEPER,
    },
    "recomp": {"summarize": "The keeper on duty opens it.", "generate": KEEPER},
    "longllmlingua": {"generate": KEEPER},
    "cascade": {"generate": KEEPER, "grade_supported": "4", "grade_useful": "4"},
    "archon_models": {
        "generate": ["A cook.", KEEPER, "The harbour master.", "A king."],
        "grade_supported": by_answer, "rank_answers": "2 > 1", "critique": "Fine.",
        "llm_fusion": FUSED,
    },
    "ircot": {
        "next_thought": ["The keeper on duty opens it.", "So the answer is: the keeper."],
        "generate_reasoning": KEEPER,
    },
    "self_ask": {"follow_up": ["Who is on duty?", "DONE"], "generate": KEEPER},
    "adaptive": {"route_llm": "one", "generate": KEEPER},
    "search_o1": {
        "agent_reasoning": [tool("search", query="lock keeper"), tool("answer")],
        "reason_in_documents": "The keeper on duty opens it [1].", "generate": CITED,
    },
}  # fmt: skip
CALLS: dict[str, list[str]] = {
    "sure": ["answer_candidates", *["summarize_for"] * 2, *["grade_supported"] * 2, "rank_answers"],
    "chain_of_verification": ["generate", "verification_queries", *["generate"] * 2, "revise"],
    "recomp": ["summarize", "generate"],
    "longllmlingua": ["generate"],
    "cascade": ["generate", "grade_supported", "grade_useful"],
    "archon_models": [
        *["generate"] * 4, *["grade_supported"] * 4, "rank_answers", *["critique"] * 2,
        "llm_fusion",
    ],
    "ircot": ["next_thought", "next_thought", "generate_reasoning"],
    "self_ask": ["follow_up", "generate", "follow_up", "generate"],
    "adaptive": ["route_llm", "generate"],
    "search_o1": ["agent_reasoning", "reason_in_documents", "agent_reasoning", "generate"],
}  # fmt: skip


def run(name: str, index: Index, embedder: Embedder, **said: Any) -> tuple[str, list[str]]:
    """The answer, and the names of the prompts in their order."""
    script = {**SCRIPTS[name], **said}
    llm = ScriptedLLM(
        script, profile=Profile(size="strong", window=4096), constrained=name == "search_o1"
    )
    return flow(name, index, embedder, llm).invoke(query=QUESTION)["answer"], llm.names


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_calls_are_those_of_the_paper(name: str, index: Index, embedder: Embedder) -> None:
    answer, names = run(name, index, embedder)
    assert names == CALLS[name]
    assert answer.startswith(FUSED[:-1] if name == "archon_models" else "The keeper on duty")
    assert "[1]" in answer


WRONG: list[tuple[str, str, str, list[str]]] = [
    # flow, step that goes wrong, beginning of the answer, calls
    ("sure", "answer_candidates", DO_NOT_KNOW, ["answer_candidates"]),
    ("sure", "summarize_for", DO_NOT_KNOW, CALLS["sure"][:3]),
    ("sure", "grade_supported", DO_NOT_KNOW, CALLS["sure"][:5]),
    ("sure", "rank_answers", "A cook", CALLS["sure"]),
    # The question itself is the check of a draft.
    ("chain_of_verification", "verification_queries", "The keeper",
     ["generate", "verification_queries", "generate", "revise"]),
    ("chain_of_verification", "revise", "A cook.", CALLS["chain_of_verification"]),
    ("recomp", "summarize", NOTHING_FOUND, ["summarize"]),
    # What is not known to be good is answered by the strong model.
    ("cascade", "grade_supported", "The keeper", [*CALLS["cascade"], "generate"]),
    ("cascade", "grade_useful", "The keeper", [*CALLS["cascade"], "generate"]),
    ("archon_models", "grade_supported", DO_NOT_KNOW, CALLS["archon_models"][:8]),
    ("archon_models", "rank_answers", FUSED[:-1], CALLS["archon_models"]),
    ("archon_models", "critique", FUSED[:-1], CALLS["archon_models"]),
    ("archon_models", "llm_fusion", "The harbour master", CALLS["archon_models"]),
    ("ircot", "next_thought", "The keeper", ["next_thought", "generate_reasoning"]),
    ("self_ask", "follow_up", "The keeper", ["follow_up", "generate"]),
    ("adaptive", "route_llm", "The keeper", CALLS["adaptive"]),
    # The question itself is searched for.
    ("search_o1", "agent_reasoning", "The keeper", CALLS["search_o1"]),
    ("search_o1", "reason_in_documents", "The keeper", CALLS["search_o1"]),
]  # fmt: skip


@pytest.mark.parametrize("written", NOTHING)
@pytest.mark.parametrize(("name", "step", "answer", "calls"), WRONG)
def test_what_a_step_in_the_middle_gets_wrong_is_left_out(
    name: str, step: str, answer: str, calls: list[str], written: str, index: Index,
    embedder: Embedder,
) -> None:  # fmt: skip
    found, names = run(name, index, embedder, **{step: NOTHING[written]})
    assert found.startswith(answer)
    assert names == calls


LAST = {"ircot": "generate_reasoning"}
WITHOUT_AN_ANSWER: Mapping[str, int] = {
    # Flow to its calls, where whatever answers declines or writes nothing. A draft without an
    # answer has no facts to check; an abstention is neither judged nor ranked nor criticised.
    "chain_of_verification": 2, "recomp": 2, "longllmlingua": 1, "cascade": 2, "archon_models": 4,
    "ircot": 3, "self_ask": 4, "adaptive": 2, "search_o1": 4,
}  # fmt: skip


@pytest.mark.parametrize("written", ["empty", "refused"])
@pytest.mark.parametrize(("name", "calls"), WITHOUT_AN_ANSWER.items())
def test_where_no_answer_is_written_none_is_made_up(
    name: str, calls: int, written: str, index: Index, embedder: Embedder
) -> None:
    said = {LAST.get(name, "generate"): NOTHING[written]}
    answer, names = run(name, index, embedder, **said)
    assert abstains(answer)
    assert "[1]" not in answer
    assert len(names) == calls


BEFORE_ANY_ANSWER = {
    "adaptive": ["route_llm"],
    "self_ask": ["follow_up", "follow_up"],
    "search_o1": ["agent_reasoning", "agent_reasoning"],
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    return made(tmp_path_factory.mktemp("empty") / "index", embedder, [])


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_documents_only_what_chooses_the_way_is_asked(
    name: str, empty: Index, embedder: Embedder
) -> None:
    answer, names = run(name, empty, embedder)
    assert answer == NOTHING_FOUND
    assert names == BEFORE_ANY_ANSWER.get(name, [])


def test_a_cascade_asks_each_model_its_part(index: Index, embedder: Embedder) -> None:
    """The strong one reads more than the small one, and nothing of its answer."""
    small = ScriptedLLM({"generate": "A cook.", "grade_supported": "0", "grade_useful": "4"})
    strong = ScriptedLLM({"generate": KEEPER}, profile=Profile(size="strong", window=4096))
    ready = flow("cascade", index, embedder, small, k="auto").with_resources(strong=strong)
    assert ready.invoke(query=QUESTION)["answer"] == CITED
    assert small.names == ["generate", "grade_supported", "grade_useful"]
    assert strong.names == ["generate"]
    (read,) = strong.prompts
    assert len(read.chunks) == 4, "all documents"
    assert sum(map(len, read.chunks)) > sum(map(len, small.prompts[0].chunks))
    assert "cook" not in read.question


def test_of_several_models_the_first_one_decides(index: Index, embedder: Embedder) -> None:
    first = ScriptedLLM(
        {**SCRIPTS["archon_models"], "generate": ["A cook.", KEEPER]},
        profile=Profile(size="strong"),
    )
    second = ScriptedLLM({"generate": "The harbour master."}, profile=Profile(size="strong"))
    ready = flow("archon_models", index, embedder, first).with_resources(second=second)
    assert ready.invoke(query=QUESTION)["answer"].startswith(FUSED[:-1])
    assert second.names == ["generate", "generate"]
    assert "generate" not in first.names[2:]
    fused = first.prompts[-1].question
    assert KEEPER in fused
    assert "The harbour master." in fused
    assert "cook" not in fused


def test_summaries_are_of_one_candidate_each_and_judged_alone(
    index: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM(SCRIPTS["sure"], profile=Profile(size="strong", window=4096))
    flow("sure", index, embedder, llm).invoke(query=QUESTION)
    asked = dict(zip(llm.names, llm.prompts, strict=True))
    assert len(asked["summarize_for"].chunks) == 2
    assert sum("A cook" in one.question for one in llm.prompts[1:3]) == 1
    assert [len(one.chunks) for one in llm.prompts[3:5]] == [1, 1]
    assert any("The keeper on duty opens" in one.chunks[0] for one in llm.prompts[3:5])
    assert "A cook is said" in "".join([asked["rank_answers"].question, *llm.prompts[-1].chunks])
