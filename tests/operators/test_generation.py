"""Generation and citations."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from rag.flow import Flow
from rag.flow.run.events import Token, Warned
from rag.models import LLM
from rag.operators import Cite, Generate
from rag.operators.answering import NOTHING_FOUND
from rag.operators.generation.cite import Citation
from rag.operators.support import support
from rag.text.sentences import sentences

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


@pytest.mark.parametrize(
    ("texts", "answer", "marked"),
    [
        (
            ["北閘由值班員和港務長開啟。", "成人票價四克朗，兒童免費。", "水泵每年三月檢修一次。"],
            "港務長和值班員可以開啟北閘。成人的票價是四克朗！月亮是由奶酪做的。",
            "港務長和值班員可以開啟北閘 [1]。成人的票價是四克朗 [2]！月亮是由奶酪做的。",
        ),
        (
            ["チケットは四クローネです。", "当直の管理人は北の水門を開けます。"],
            "北の水門は当直の管理人が開けます。",
            "北の水門は当直の管理人が開けます [2]。",
        ),
        (
            ["Северный шлюз открывает дежурный смотритель.", "Билет стоит четыре кроны."],
            "Смотритель открывает северный шлюз. Четыре кроны стоит билет.",
            "Смотритель открывает северный шлюз [1]. Четыре кроны стоит билет [2].",
        ),
        (
            ["ตั๋วราคาสี่คราวน์สำหรับผู้ใหญ่", "ประตูน้ำด้านเหนือเปิดโดยผู้ดูแลที่เข้าเวร"],
            "ผู้ดูแลเปิดประตูน้ำด้านเหนือ",
            "ผู้ดูแลเปิดประตูน้ำด้านเหนือ [2]",
        ),
        (
            ["टिकट चार क्राउन का है।", "उत्तरी द्वार रखवाला खोलता है।"],
            "रखवाला उत्तरी द्वार खोलता है। टिकट चार क्राउन का है।",
            "रखवाला उत्तरी द्वार खोलता है [2]। टिकट चार क्राउन का है [1]।",
        ),
    ],
)
def test_every_script_is_cited(texts: list[str], answer: str, marked: str) -> None:
    documents = [Document(page_content=text) for text in texts]
    found = Cite().invoke(answer=answer, documents=documents)
    assert found["answer"] == marked
    assert all(citation.quote in texts for citation in found["citations"])


def test_a_wrong_number_weighs_between_characters_too() -> None:
    assert support("北閘長120米", "北閘長120米。") == 1.0
    assert support("北閘長90米", "北閘長120米。") < 0.6
    assert support("南閘長120米", "北閘長120\n米。") == pytest.approx(7 / 8)


def test_words_are_counted_as_they_always_were() -> None:
    text = "The north lock may be opened by the keeper on duty; it is 1,200.5 m long."
    assert support("The keeper opens the north locks.", text) == 1.0
    assert support("It is 1,200.5 m and 7 m deep.", text) == pytest.approx(3 / 6)
    assert support("It is not. Or is it?", text) == 0.0


def test_a_mark_behind_the_full_stop_is_that_sentences() -> None:
    answer, *_ = cite("Tickets cost 4 crowns. [2] The lock is 120 m long. [1]")
    assert answer == "Tickets cost 4 crowns [2]. The lock is 120 m long [1]."


def test_lists_keep_their_lines_and_numbers() -> None:
    answer, *_ = cite("1. Tickets cost 4 crowns.\n2. The lock is 120 m long.")
    assert answer == "1. Tickets cost 4 crowns [2].\n2. The lock is 120 m long [1]."


def test_metadata_of_any_kind_is_cited() -> None:
    metadata = {"title": 123, "start": "z", "end": "12", "score": "high", "page": [1]}
    documents = [Document(page_content="Tickets cost 4 crowns.", metadata=metadata)]
    found = Cite().invoke(answer="Tickets cost 4 crowns.", documents=documents)
    (citation,) = found["citations"]
    assert (citation.title, citation.start, citation.end, citation.score) == ("123", None, 12, None)


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
    from rag.models.local.model import LocalLLM

    assert isinstance(llm, LocalLLM)
    small = LocalLLM("small", llm.model, llm.tokenizer, window=400)
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


@pytest.mark.parametrize("end", ["see Fig. (", "in Jan. **", 'No. ["'])
def test_an_abbreviation_may_end_a_text(end: str) -> None:
    assert sentences(f"The lock is 5 m high, {end}")


def test_a_mark_without_a_source_is_taken_out_at_any_threshold() -> None:
    flow = Flow(Cite(threshold=0), inputs={"answer": str, "documents": list[Document]})
    documents = [Document(page_content="The lock opens.")]
    assert flow.invoke(answer="The lock opens [9].", documents=documents)["answer"] == (
        "The lock opens [1]."
    )
