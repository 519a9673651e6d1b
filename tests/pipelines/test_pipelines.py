"""The ready-made flows: with the real small model, and with one that forces every branch."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from rag.operators.generation.generate import NOTHING_FOUND
from rag.pipelines import names, path

from rag.errors import ModelError, StepError
from rag.flow import Flow, load_flow
from rag.flow.events import BranchSkipped, LoopTurn
from rag.index import Index
from rag.llm import LLM, Embedder, Generation, Prompt, Sampling
from rag.llm.local import LocalLLM
from tests.scripted import Scripted

TEXTS = [
    "The north lock may be opened by the keeper on duty and by the harbour master.",
    "The south lock opens at six in the morning from April to October.",
    "Pump P-17 lifts 240 litres per second and is serviced every March.",
    "Visitors pay four crowns for the boat lift; children go free.",
]
QUESTION = "Who may open the north lock?"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    path = tmp_path_factory.mktemp("index") / "index"
    writer = Index.writer(path, embedder=embedder.id, dim=embedder.dim)
    documents = [
        Document(page_content=text, metadata={"source": f"s{n}", "path": f"s{n}.md"})
        for n, text in enumerate(TEXTS)
    ]
    writer.add(documents, embedder.embed(TEXTS))
    writer.close()
    return Index.open(path)


class Brief(LocalLLM):
    """The small model, which never says more than a few words."""

    async def stream(
        self, prompt: Prompt, sampling: Sampling, context: Any = None
    ) -> AsyncIterator[str | Generation]:
        short = replace(sampling, max_tokens=min(sampling.max_tokens, 10))
        async for piece in super().stream(prompt, short, context):
            yield piece

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        async for piece in super().ensemble(prompts, weights, replace(sampling, max_tokens=6)):
            yield piece


@pytest.fixture(scope="module")
def brief(llm: LocalLLM, tmp_path_factory: pytest.TempPathFactory) -> LLM:
    kv = (str(tmp_path_factory.mktemp("kv")), Path())
    return Brief("brief", llm._model, llm._tokenizer, llm.window, kv)


def flow(name: str, index: Index, embedder: Embedder, llm: LLM) -> Flow:
    loaded = load_flow(path(name), params={"k": 2})
    resources = {"index": index, "embedder": embedder, "llm": llm}
    return Flow(
        loaded.node,
        inputs=loaded.inputs,
        outputs=loaded.outputs,
        resources=resources,
        budget=loaded.budget,
    )


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


@pytest.mark.parametrize("query", ["", "x" * 10_000, "\u041a\u0442\u043e \u2753 \u8c01"])
@pytest.mark.parametrize("name", names())
def test_strange_questions_get_an_answer(
    name: str, query: str, index: Index, embedder: Embedder
) -> None:
    if name in ("replug", "cached"):
        pytest.skip("needs a local model's states")
    result = flow(name, index, embedder, Scripted()).invoke(query=query)
    assert isinstance(result["answer"], str)


@pytest.mark.parametrize(
    "said", ["", " \n", "\u202e\x00 nonsense \U0001f937 </source>", "word " * 5000]
)
@pytest.mark.parametrize("name", names())
def test_a_model_that_says_nonsense_breaks_nothing(
    name: str, said: str, index: Index, embedder: Embedder
) -> None:
    if name in ("replug", "cached"):
        pytest.skip("needs a local model's states")
    from rag.operators.asking import prompts

    says = dict.fromkeys([*prompts(), "generate", "other"], said)
    result = flow(name, index, embedder, Scripted(says)).invoke(query=QUESTION)
    assert isinstance(result["answer"], str)
    assert len(result["answer"]) < 10_000


def run(flow: Flow, query: str = QUESTION) -> tuple[dict[str, Any], list[str], int]:
    """The result, the branches left out, and the turns of its loop."""
    events = list(flow.stream(query=query))
    skipped = [event.branch for event in events if isinstance(event, BranchSkipped)]
    turns = max((event.turn for event in events if isinstance(event, LoopTurn)), default=0)
    return events[-1].result, skipped, turns


def test_a_rewritten_question_is_searched_and_not_answered(
    index: Index, embedder: Embedder
) -> None:
    llm = Scripted({"rewrite": "pump P-17", "generate": "240 litres."})
    result, *_ = run(flow("rewrite_retrieve_rerank_read", index, embedder, llm))
    assert result["search"] == "pump P-17"
    assert result["query"] == QUESTION
    assert llm.asked == ["rewrite", "generate"]
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
    result, skipped, _ = run(flow("routed", index, embedder, Scripted()), query)
    assert result["route"] == way
    assert way not in skipped
    assert len(skipped) == 3


def test_every_wording_is_searched(index: Index, embedder: Embedder) -> None:
    llm = Scripted({"multi_query": "1. Which pump?\n2. What does a visitor pay?\n\n- Which pump?"})
    result, *_ = run(flow("multi_query", index, embedder, llm))
    assert result["queries"] == [QUESTION, "Which pump?", "What does a visitor pay?"]
    assert llm.asked == ["multi_query", "generate"]


def test_sub_questions_are_answered_one_by_one(index: Index, embedder: Embedder) -> None:
    llm = Scripted(
        {
            "decompose": "Which lock opens at six?\nWhat does P-17 lift?",
            "generate": ["The south lock.", "240 litres."],
            "llm_fusion": "The south lock opens at six and P-17 lifts 240 litres.",
        }
    )
    result, *_ = run(flow("decomposition", index, embedder, llm))
    assert sorted(llm.asked) == ["decompose", "generate", "generate", "llm_fusion"]
    assert "240 litres" in result["answer"]
    assert len(result["citations"]) >= 1


def test_the_passage_is_searched_for(index: Index, embedder: Embedder) -> None:
    llm = Scripted({"hyde": "A visitor pays crowns for the lift, children go free of charge."})
    result, *_ = run(flow("hyde", index, embedder, llm), "price")
    assert result["passages"] == ["A visitor pays crowns for the lift, children go free of charge."]
    assert any("crowns" in document.page_content for document in result["documents"])


def test_an_ensemble_needs_likelihoods(index: Index, embedder: Embedder) -> None:
    with pytest.raises(StepError, match="tells no likelihoods") as caught:
        flow("replug", index, embedder, Scripted()).invoke(query=QUESTION)
    assert isinstance(caught.value.__cause__, ModelError)


@pytest.mark.parametrize(
    ("answers", "turns"),
    [(["one", "one"], 2), (["one", "two", "two"], 3), (["one", "two", "three", "four"], 3)],
)
def test_iterations_end_when_the_answer_stays(
    answers: list[str], turns: int, index: Index, embedder: Embedder
) -> None:
    llm = Scripted({"generate": answers})
    result, _, took = run(flow("iter_retgen", index, embedder, llm))
    assert took == turns
    assert result["search"] == f"{QUESTION} {answers[turns - 2]}"


def test_a_clear_question_makes_no_tree(index: Index, embedder: Embedder) -> None:
    llm = Scripted({"clarify": "Who opens it?"})
    _, skipped, _ = run(flow("tree_of_clarifications", index, embedder, llm))
    assert llm.asked == ["clarify", "generate"]
    assert skipped == ["true"]


def test_an_ambiguous_question_is_answered_in_each_meaning_to_a_depth(
    index: Index, embedder: Embedder
) -> None:
    llm = Scripted({"clarify": "Who opens the north lock?\nWho opens the south lock?"})
    for name in ("generate", "llm_fusion"):
        llm.says[name] = [f"{name} {n} of the keeper." for n in range(9)]
    run(flow("tree_of_clarifications", index, embedder, llm))
    # The root and its two children branch; their children are as deep as it goes.
    assert llm.asked.count("clarify") == 3
    assert llm.asked.count("generate") == 4
    assert llm.asked.count("llm_fusion") == 3


def test_what_the_model_is_sure_of_is_not_looked_up(index: Index, embedder: Embedder) -> None:
    llm = Scripted({"next_sentence": ["The keeper.", "And the master.", ""]}, sure=0.9)
    result, skipped, turns = run(flow("flare", index, embedder, llm))
    assert result["answer"].startswith("The keeper")
    assert (turns, skipped) == (3, ["false"] * 3)


def test_what_the_model_is_unsure_of_is_looked_up(index: Index, embedder: Embedder) -> None:
    llm = Scripted(
        {"next_sentence": ["Pump lifts much.", "It lifts 240 litres.", "It lifts 240 litres."]},
        sure=[0.1, 0.9],
    )
    result, skipped, turns = run(flow("flare", index, embedder, llm))
    assert skipped == ["true", "false"]
    assert turns == 2
    assert "240 litres" in result["answer"]
    assert "much" not in result["answer"]


def test_an_answer_without_end_ends(index: Index, embedder: Embedder) -> None:
    llm = Scripted({"next_sentence": [f"Sentence {n}." for n in range(20)]}, sure=0.9)
    _, _, turns = run(flow("flare", index, embedder, llm))
    assert turns == 4


def test_what_the_model_knows_is_not_retrieved(index: Index, embedder: Embedder) -> None:
    llm = Scripted({"knowledge_judge": "The keeper on duty."}, sure=0.99)
    result, skipped, turns = run(flow("self_rag", index, embedder, llm))
    assert result["answer"].startswith("The keeper on duty")
    assert (skipped, turns) == (["false"], 0)
    assert llm.asked == ["knowledge_judge"]


@pytest.mark.parametrize(
    ("supported", "useful", "turns"),
    [([0.9], [0.9], 1), ([0.1, 0.9], [0.9], 2), ([0.9], [0.1, 0.9], 2), ([0.1], [0.9], 3)],
)
def test_an_answer_must_be_supported_and_useful(
    supported: list[float], useful: list[float], turns: int, index: Index, embedder: Embedder
) -> None:
    llm = Scripted(
        {"rewrite": ["lock keeper", "harbour master"], "generate": "The keeper."},
        {"supported": supported, "useful": useful, "relevant": 0.9},
        sure=0.5,
    )
    _, skipped, took = run(flow("self_rag", index, embedder, llm))
    assert (skipped, took) == (["true"], turns)


def test_no_relevant_document_is_no_answer(index: Index, embedder: Embedder) -> None:
    llm = Scripted({}, {"relevant": 0.0}, sure=0.5)
    result, _, turns = run(flow("self_rag", index, embedder, llm))
    assert turns == 3
    assert result["answer"] == NOTHING_FOUND


@pytest.mark.parametrize(
    ("relevant", "grade", "rewritten"),
    [(0.9, "correct", False), (0.5, "ambiguous", True), (0.1, "incorrect", True)],
)
def test_what_was_found_is_corrected(
    relevant: float, grade: str, rewritten: bool, index: Index, embedder: Embedder
) -> None:
    llm = Scripted({"rewrite": "visitors crowns"}, {"relevant": relevant})
    result, skipped, _ = run(flow("crag", index, embedder, llm))
    assert result["grade"] == grade
    assert set(skipped) == {"correct", "ambiguous", "incorrect"} - {grade}
    assert ("rewrite" in llm.asked) == rewritten
    texts = " ".join(document.page_content for document in result["documents"])
    assert ("crowns" in texts) == rewritten
    assert ("keeper" in texts) == (grade != "incorrect")


def test_answers_are_ranked_criticised_and_fused(index: Index, embedder: Embedder) -> None:
    llm = Scripted(
        {
            "generate": ["A cook.", "The keeper on duty.", "The harbour master."],
            "critique": ["Too short.", "Nothing."],
            "llm_fusion": "The keeper on duty and the harbour master.",
        },
        {"useful": [0.1, 0.8, 0.9]},
    )
    result, *_ = run(flow("archon", index, embedder, llm))
    assert len(result["answers"]) == 2
    assert llm.asked.count("critique") == 2
    assert result["critiques"] == ["Too short.", "Nothing."]
    assert result["support"] == pytest.approx(1.0)
    fused = next(p for p, name in zip(llm.prompts, llm.asked, strict=True) if name == "llm_fusion")
    assert all("Critique:" in chunk for chunk in fused.chunks)
    assert result["citations"]
