"""Compression by the question: what the small model keeps, and that numbers stay whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from rag.errors import StepError
from rag.flow import Flow
from rag.models import LLM
from rag.operators import CompressByQuestion
from rag.testing.llm import ScriptedLLM

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook"
FACTS = {
    "Who may open the north lock?":
        "The north lock may be opened by the keeper on duty and by the harbour master.",
    "How much does pump P-17 lift?":
        "Pump P-17 lifts 240 litres per second and is serviced every March.",
    "What do visitors pay for the boat lift?":
        "Visitors pay 4 crowns for the boat lift; children under 6 go free.",
    "When does the canteen close?": "The canteen serves soup at noon and closes at 14:30.",
    "To whom was the old crane sold?":
        "The old crane was sold to a museum in the capital in 1987.",
}  # fmt: skip


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The default model in float32: another number format decides close calls otherwise."""
    return LLM.load({"model": LLM.default, "dtype": "float32"}, base=Path())


def compressed(llm: LLM, query: str, *texts: str, ratio: float, spread: float = 0.0) -> list[str]:
    flow = Flow(
        CompressByQuestion(ratio=ratio, spread=spread),
        inputs={"query": str, "documents": list[Document]},
        resources={"llm": llm},
    )
    documents = [Document(page_content=text, id=str(n)) for n, text in enumerate(texts)]
    found = flow.invoke(query=query, documents=documents)["documents"]
    return [document.page_content for document in found]


@pytest.mark.slow
def test_what_is_kept_follows_the_question_wherever_it_stands(llm: LLM) -> None:
    """The first sentence of a text is no more likely to be kept than any other, nor the last."""
    text = " ".join(FACTS.values())
    for question, sentence in list(FACTS.items())[::2]:
        assert compressed(llm, question, text, ratio=0.2) == [sentence]


def test_the_document_that_answers_comes_first_and_keeps_most(llm: LLM) -> None:
    one, other = [" ".join(list(FACTS.values())[at : at + 2]) for at in (0, 2)]
    question = "What do visitors pay for the boat lift?"
    first, last = compressed(llm, question, one, other, ratio=0.6, spread=0.8)
    assert first == other
    assert last in one
    assert len(last) < len(one)


@pytest.mark.slow
def test_a_page_of_the_handbook_keeps_what_is_asked_for(llm: LLM) -> None:
    """With headings, a table, and sentences around it."""
    page = (HANDBOOK / "operations" / "locks.md").read_text(encoding="utf-8")[:1600]
    for question, answer in {
        "How long does a full passage of the north lock take?": "14 minutes",
        "Who may open the north lock?": "lock keeper on duty",
    }.items():
        (found,) = compressed(llm, question, page, ratio=0.5)
        assert answer in found
        assert len(found) < 0.7 * len(page)
        assert numbers(found) <= numbers(page)


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.,:]\d+)*", text))


SENTENCES = st.lists(
    st.tuples(
        st.sampled_from(["Lock", "Pump", "Gate"]), st.decimals(0, 9999, places=2),
        st.sampled_from([" ", "\n", "\n\n## Part\n\n", "\n| a | 7 |\n"]),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(SENTENCES, st.floats(0.05, 1.0))
def test_only_whole_sentences_are_left_out(
    drawn: list[tuple[str, object, str]], ratio: float
) -> None:
    text = "".join(f"{what} {number} lifts 3.5 m.{gap}" for what, number, gap in drawn)
    llm = ScriptedLLM(probability=0.5)
    (found,) = compressed(llm, "Which?", text, ratio=ratio)
    rest = iter(text.split())
    assert all(word in rest for word in found.split()), "words in their order, none cut"
    for piece in re.findall(r"\w+ [\d.]+ lifts 3\.5 m\.", text):
        assert found.count(piece) <= text.count(piece)
    whole = re.findall(r"\w+ [\d.]+ lifts 3\.5 m\.", found)
    assert len(re.findall(r"lifts", found)) == len(whole)
    pieces = len(whole) + found.count("| a |") + found.count("## Part")
    assert pieces == 1 or llm.count(found) <= ratio * llm.count(text) + pieces
    assert "## Part" not in found.splitlines()[-1:] or text.rstrip().endswith("## Part")


def test_of_sentences_alike_those_with_a_number_stay() -> None:
    text = "The gate is wide. The gate is 9 m wide. The gate is very wide."
    llm = ScriptedLLM(probability=0.5)
    assert compressed(llm, "How wide?", text, ratio=0.4) == ["The gate is 9 m wide."]


def test_a_heading_stays_with_what_follows_it() -> None:
    text = "Nothing else.\n\n## Pumps\n\nIt lifts 3 m.\nMore words that say nothing."
    llm = ScriptedLLM(probability=0.5)
    assert compressed(llm, "How high?", text, ratio=0.5) == ["## Pumps\n\nIt lifts 3 m."]


def test_a_model_that_scores_no_texts_is_not_called() -> None:
    llm = ScriptedLLM()
    with pytest.raises(StepError, match="does not return log-probabilities"):
        compressed(llm, "Which?", "A lock.", ratio=0.5)
    assert llm.calls == []
