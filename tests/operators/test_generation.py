"""Generation and citations."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from rag.operators import Cite, Generate
from rag.operators.generation.cite import Citation, support
from rag.operators.generation.generate import NOTHING_FOUND

from rag.flow import Flow
from rag.flow.events import Token, Warned
from rag.llm import LLM

DOCUMENTS = [
    Document(
        page_content="The north lock may be opened by the keeper on duty. It is 120 m long.",
        metadata={
            "path": "locks.md",
            "heading": "Locks > North lock",
            "title": "Locks",
            "source": "/l.md",
        },
    ),
    Document(
        page_content="Tickets cost 4 crowns for adults.", metadata={"path": "p.pdf", "page": 2}
    ),
]
INPUTS = {"query": str, "documents": list[Document]}


def cite(answer: str) -> tuple[str, list[Citation], list[str]]:
    events = list(Cite().stream(answer=answer, documents=DOCUMENTS))
    result = events[-1].result
    return (
        result["answer"],
        result["citations"],
        [e.message for e in events if isinstance(e, Warned)],
    )


def test_sentences_get_the_source_that_supports_them() -> None:
    answer, citations, _ = cite(
        "The keeper on duty may open the north lock. Tickets cost 4 crowns."
    )
    assert answer == "The keeper on duty may open the north lock [1]. Tickets cost 4 crowns [2]."
    assert [c.number for c in citations] == [1, 2]
    assert citations[0].place == "locks.md, Locks > North lock"
    assert citations[0].quote == "The north lock may be opened by the keeper on duty."
    assert citations[1].place == "p.pdf, page 2"


def test_marks_of_the_model_are_checked() -> None:
    answer, citations, warnings = cite("Tickets cost 4 crowns [1]. The lock is 120 m long [1] [7].")
    assert answer == "Tickets cost 4 crowns [2]. The lock is 120 m long [1]."
    assert [c.number for c in citations] == [1, 2]
    assert any("[7]" in warning for warning in warnings)


def test_what_no_source_says_is_not_cited() -> None:
    answer, citations, _ = cite("The moon is made of cheese.")
    assert answer == "The moon is made of cheese."
    assert citations == []


def test_a_wrong_number_weighs() -> None:
    right = support("Tickets cost 4 crowns.", DOCUMENTS[1].page_content)
    wrong = support("Tickets cost 9 crowns.", DOCUMENTS[1].page_content)
    assert right == 1.0
    assert wrong < 0.7


def test_the_real_model_answers_from_the_documents(llm: LLM) -> None:
    flow = Flow(Generate(max_tokens=40) >> Cite(), inputs=INPUTS, resources={"llm": llm})
    events = list(flow.stream(query="How long is the north lock?", documents=DOCUMENTS))
    assert "120" in events[-1].result["answer"]
    assert "".join(e.text for e in events if isinstance(e, Token)).strip()


def test_without_documents_no_model_is_asked() -> None:
    flow = Flow(
        Generate(), inputs=INPUTS, resources={"llm": GenericFakeChatModel(messages=iter([]))}
    )
    assert flow.invoke(query="x", documents=[])["answer"] == NOTHING_FOUND


def test_what_does_not_fit_the_window_is_left_out_with_a_warning(llm: LLM) -> None:
    from rag.llm.local import LocalLLM

    assert isinstance(llm, LocalLLM)
    small = LocalLLM("small", llm._model, llm._tokenizer, window=400)
    many = [Document(page_content=f"Fact {n}: " + "word " * 60) for n in range(10)]
    flow = Flow(Generate(max_tokens=8), inputs=INPUTS, resources={"llm": small})
    events = list(flow.stream(query="What?", documents=many))
    assert any("do not fit" in e.message for e in events if isinstance(e, Warned))


@pytest.mark.parametrize("text", ["   ", "\n"])
def test_an_empty_answer_is_an_answer(text: str) -> None:
    llm = LLM.load(GenericFakeChatModel(messages=iter([AIMessage(text)])), base=Path())
    flow = Flow(Generate() >> Cite(), inputs=INPUTS, resources={"llm": llm})
    result = flow.invoke(query="x", documents=DOCUMENTS)
    assert (result["answer"], result["citations"]) == ("", [])
