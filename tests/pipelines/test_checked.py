"""Flows that check what they answer, with a scripted strong model."""

from __future__ import annotations

from typing import Any

import pytest

from rag.index import Index
from rag.models import Embedder
from rag.models.profiles import Profile
from rag.operators.answering import DO_NOT_KNOW
from rag.testing.llm import ScriptedLLM
from tests.pipelines import QUESTION, flow


def asked(name: str, index: Index, embedder: Embedder, **said: Any) -> tuple[Any, ScriptedLLM]:
    llm = ScriptedLLM(said, profile=Profile(size="strong", window=4096))
    return flow(name, index, embedder, llm).invoke(query=QUESTION), llm


def test_the_draft_is_revised_by_its_checks(index: Index, embedder: Embedder) -> None:
    result, llm = asked(
        "chain_of_verification", index, embedder,
        generate=lambda one: "A cook." if one.question == QUESTION else "The keeper [1].",
        verification_queries="Who opens the north lock on duty?", revise="The keeper on duty.",
    )  # fmt: skip
    assert llm.names == ["generate", "verification_queries", "generate", "revise"]
    assert "A cook." not in llm.prompts[2].question, "a check does not see the draft"
    assert "Answer: A cook." in llm.prompts[3].question
    assert "Answer: The keeper." in llm.prompts[3].question
    assert result["answer"].startswith("The keeper on duty")


@pytest.mark.parametrize("grade", ["4", "0"])
def test_the_strong_model_answers_what_the_small_one_cannot(
    grade: str, index: Index, embedder: Embedder
) -> None:
    result, llm = asked(
        "cascade", index, embedder, generate=["A cook.", "The keeper."],
        grade_supported=grade, grade_useful="4",
    )  # fmt: skip
    assert llm.names.count("generate") == (1 if grade == "4" else 2)
    assert result["answer"].startswith("A cook" if grade == "4" else "The keeper")


def test_several_models_answer_and_one_judges(index: Index, embedder: Embedder) -> None:
    result, llm = asked("archon_models", index, embedder, generate="A cook.", grade_supported="0")
    assert llm.names.count("generate") == 4
    assert result["answer"] == DO_NOT_KNOW


def test_the_candidate_with_the_best_summary_is_the_answer(
    index: Index, embedder: Embedder
) -> None:
    """Steps `answer_candidates`, `summarize` and `rank_candidates`."""
    result, llm = asked(
        "sure", index, embedder, answer_candidates="A cook\nThe keeper",
        summarize_for=lambda one: "NOTHING" if "cook" in one.question else "The keeper opens it.",
        grade_supported="4",
    )  # fmt: skip
    assert result["answer"].startswith("The keeper")
    assert llm.names.count("summarize_for") == 2


@pytest.mark.parametrize("said", ["The keeper on duty opens it.", "NOTHING", ""])
def test_only_the_summary_is_read(said: str, index: Index, embedder: Embedder) -> None:
    result, llm = asked("recomp", index, embedder, summarize=said, generate="The keeper on duty.")
    if said in ("NOTHING", ""):
        assert "generate" not in llm.names
        assert result["answer"].startswith("The sources do not say")
    else:
        assert llm.prompts[-1].chunks == (f"Summary\n{said}",)
        assert result["citations"]


def test_a_model_that_scores_no_texts_reads_them_uncut(index: Index, embedder: Embedder) -> None:
    llm = ScriptedLLM("The keeper.", profile=Profile(size="strong", window=4096))
    run = flow("longllmlingua", index, embedder, llm).run(query=QUESTION)
    assert llm.names == ["generate"]
    assert run.llm_calls == 1, "what it cannot do is not charged"
    assert len(llm.prompts[-1].chunks) == 2
