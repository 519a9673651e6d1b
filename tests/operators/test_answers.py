"""Operators that write answers of many documents, check them and look up what is doubtful."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from rag.errors import ModelError
from rag.flow import Flow, Operator
from rag.flow.run.events import Warned
from rag.models import LLM, NLI, Embedder
from rag.operators import (
    Abstain,
    AppendSentence,
    Critique,
    Generate,
    MapReduce,
    MaskLowConfidence,
    NextSentence,
    Refine,
    Replug,
    StructuredAnswer,
    Verify,
    VerifyLLM,
    VerifyNLI,
)
from rag.operators.answering import DO_NOT_KNOW, NOTHING_FOUND
from rag.operators.generation.structured_answer import PLACEHOLDER
from rag.operators.scores import softmax_weights
from rag.testing.llm import ScriptedLLM
from tests.operators import tiny

DOCUMENTS = [
    Document(page_content="The north lock may be opened by the keeper on duty.", id="a"),
    Document(page_content="Tickets cost 4 crowns for adults.", id="b"),
    Document(page_content="The lock is 120 m long.", id="c"),
]


def run(step: Operator, llm: LLM, **inputs: Any) -> dict[str, Any]:
    given = {"query": "Who?", "documents": DOCUMENTS, **inputs}
    kinds = {port.name: port.type for port in step.signature().reads if port.name in given}
    flow = Flow(step, inputs=kinds, resources={"llm": llm})
    return flow.invoke(**{name: given[name] for name in kinds})


@pytest.mark.parametrize("step", [Refine(), MapReduce(), StructuredAnswer(), Replug(), Generate()])
def test_without_documents_nobody_is_asked(step: Operator) -> None:
    llm = ScriptedLLM()
    assert run(step, llm, documents=[])["answer"] == NOTHING_FOUND
    assert llm.names == []


def test_refine_improves_an_answer_group_by_group() -> None:
    llm = ScriptedLLM({"generate": "A keeper.", "refine": "The keeper on duty."})
    assert run(Refine(group=2), llm)["answer"] == "The keeper on duty."
    assert llm.names == ["generate", "refine"]
    assert "Answer so far: A keeper." in llm.prompts[1].question
    empty = ScriptedLLM({"generate": "A keeper.", "refine": " "})
    assert run(Refine(group=1), empty)["answer"] == "A keeper."


def test_map_reduce_answers_each_and_then_all() -> None:
    llm = ScriptedLLM({"map_reduce_map": ["One.", "", "Two."], "map_reduce": "Both."})
    assert run(MapReduce(), llm)["answer"] == "Both."
    assert [len(p.chunks) for p in llm.prompts] == [1, 1, 1, 2]
    for empty in ("", "NOTHING.", "I'm sorry, but I can't help with that."):
        assert run(MapReduce(), ScriptedLLM({"map_reduce_map": empty}))["answer"] == DO_NOT_KNOW
    one = ScriptedLLM({"map_reduce_map": ["", "Only.", ""]})
    assert run(MapReduce(), one)["answer"] == "Only."


def test_a_structured_answer_names_sources_that_there_are() -> None:
    llm = ScriptedLLM(
        {"structured_answer": '{"answer": "The keeper.", "sources": [1, 7, 0, 1, 3]}'}
    )
    found = run(StructuredAnswer(), llm)
    assert found["answer"] == "The keeper."
    assert found["reply"].sources == [1, 3]
    flow = Flow(
        StructuredAnswer(),
        inputs={"query": str, "documents": list[Document]},
        resources={"llm": ScriptedLLM({"structured_answer": "I cannot."})},
    )
    events = list(flow.stream(query="Who?", documents=DOCUMENTS))
    assert events[-1].result["answer"] == ""
    assert any("no object" in e.message for e in events if isinstance(e, Warned))


def test_a_form_that_is_not_filled_in_is_no_answer() -> None:
    llm = ScriptedLLM({"structured_answer": f'{{"answer": "{PLACEHOLDER}", "sources": [1]}}'})
    found = run(StructuredAnswer(), llm)
    assert (found["answer"], found["reply"].sources) == ("", [])


def test_the_local_engine_gives_a_structured_answer(llm: LLM) -> None:
    found = run(StructuredAnswer(max_tokens=80), llm, query="How long is the lock?")
    assert set(found["reply"].sources) <= {1, 2, 3}
    assert found["answer"] == found["reply"].answer != PLACEHOLDER


def test_words_support_a_claim() -> None:
    answer = "The keeper on duty may open the north lock. The moon is made of cheese."
    found = run(Verify(), ScriptedLLM(), answer=answer)
    assert [claim.source for claim in found["claims"]] == [1, None]
    assert found["support"] == pytest.approx(0.5, abs=0.1)
    assert run(Verify(), ScriptedLLM(), answer="")["support"] == 0.0
    assert run(Verify(), ScriptedLLM(), answer="A thing.", documents=[])["support"] == 0.0


def test_claims_are_sentences_in_any_script() -> None:
    answer = "Dr. Smith opens it. 北閘由值班員開啟。成人票價四克朗。"
    claims = run(Verify(), ScriptedLLM(), answer=answer)["claims"]
    assert [claim.text for claim in claims] == [
        "Dr. Smith opens it.",
        "北閘由值班員開啟。",
        "成人票價四克朗。",
    ]


def test_the_model_supports_a_claim() -> None:
    llm = ScriptedLLM({}, yes={"verify": [0.1, 0.2, 0.9]})
    found = run(VerifyLLM(), llm, answer="The lock is 120 m long.")
    (claim,) = found["claims"]
    assert (claim.source, claim.support) == (3, 0.9)
    assert len(llm.names) == 3


def test_a_model_of_inference_supports_a_claim(tmp_path: Path) -> None:
    answer = "The keeper opens the lock. The lock is 120 m long."
    place = tiny.nli(tmp_path / "nli", [answer, *(d.page_content for d in DOCUMENTS)])
    nli = NLI.load(str(place), base=Path())
    flow = Flow(
        VerifyNLI(),
        inputs={"answer": str, "documents": list[Document]},
        resources={"nli": nli},
    )
    found = flow.invoke(answer=answer, documents=DOCUMENTS)
    for claim in found["claims"]:
        chances = nli.entails([d.page_content for d in DOCUMENTS], claim.text)
        assert all(0 < chance < 1 for chance in chances)
        assert claim.support == pytest.approx(max(chances), abs=1e-3)
        assert claim.source == 1 + chances.index(max(chances))
    assert flow.invoke(answer="", documents=DOCUMENTS)["support"] == 0.0
    assert flow.invoke(answer=answer, documents=[])["support"] == 0.0


def test_entailment_is_the_label_of_that_name(tmp_path: Path) -> None:
    """Whatever its place: what the model gives must be that column of its own softmax."""
    from sentence_transformers import CrossEncoder

    place = tiny.nli(tmp_path / "nli", ["a lock", "a bridge"])
    row = CrossEncoder(str(place)).predict([("a lock", "a bridge")], apply_softmax=True)[0]
    (chance,) = NLI.load(str(place), base=Path()).entails(["a lock"], "a bridge")
    assert chance == pytest.approx(float(row[1]), abs=1e-6)


def test_a_model_without_entailment_is_refused(tmp_path: Path) -> None:
    place = tiny.cross_encoder(tmp_path / "other", ["a lock"])
    with pytest.raises(ModelError, match="not `entailment`"):
        NLI.load(str(place), base=Path())


@pytest.mark.parametrize(("support", "kept"), [(0.8, True), (0.5, True), (0.2, False)])
def test_it_abstains_from_what_is_not_supported(support: float, kept: bool) -> None:
    done = Flow(Abstain(), inputs={"answer": str, "support": float}).invoke(
        answer="The keeper.", support=support
    )
    assert done["answer"] == ("The keeper." if kept else "The sources do not say.")


def test_weights_follow_the_scores() -> None:
    assert softmax_weights([3.0, 3.0], 0.1) == [0.5, 0.5]
    low, high = softmax_weights([0.2, 0.9], 0.5)
    assert low + high == pytest.approx(1)
    assert high / low == pytest.approx(math.e**2)
    assert softmax_weights([0.2, 0.9], 1e-3) == pytest.approx([0.0, 1.0])


def test_replug_trusts_the_document_with_the_score(llm: LLM, embedder: Embedder) -> None:
    documents = [
        Document(page_content="The north lock is 120 m long.", metadata={"score": 0.9}),
        Document(page_content="The bakery opens at six.", metadata={"score": 0.1}),
    ]
    found = run(
        Replug(max_tokens=12), llm, query="How long is the north lock?", documents=documents
    )
    assert "120" in found["answer"]
    assert found["generation"].completion_tokens <= 12


def test_the_next_sentence_says_how_sure_it_is() -> None:
    llm = ScriptedLLM({"next_sentence": "It is long. It is deep."}, probability=0.7)
    found = run(NextSentence(), llm)
    assert found["sentence"] == "It is long."
    assert found["confidence"] == pytest.approx(0.7)
    assert not found["finished"]
    again = run(NextSentence(), llm, answer="It is long.")
    assert (again["sentence"], again["finished"]) == ("", True)
    silent = run(NextSentence(), ScriptedLLM({"next_sentence": "It is long."}))
    assert (silent["confidence"], silent["finished"]) == (0.0, False)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("Dr. Smith opens it. So it is.", "Dr. Smith opens it."),
        ("1. The keeper opens it. 2. So", "1. The keeper opens it."),
        ("北閘由值班員開啟。它長120米。", "北閘由值班員開啟。"),
        (" It is so", "It is so"),
    ],
)
def test_the_next_sentence_is_a_whole_one(said: str, sentence: str) -> None:
    llm = ScriptedLLM({"next_sentence": said})
    assert run(NextSentence(), llm)["sentence"] == sentence
    again = run(NextSentence(), llm, answer=f"So. {said}")
    assert (again["sentence"], again["finished"]) == ("", True)


def test_the_local_engine_says_how_sure_it_is(llm: LLM) -> None:
    found = run(NextSentence(max_tokens=16), llm, query="How long is the lock?")
    assert 0 < found["confidence"] <= 1
    assert "".join(text for text, _ in found["tokens"]).strip().startswith(found["sentence"][:3])


def test_sentences_are_put_together() -> None:
    flow = Flow(AppendSentence(), inputs={"sentence": str, "answer": str})
    assert flow.invoke(sentence="B.", answer="A.")["answer"] == "A. B."
    assert flow.invoke(sentence="", answer="A.")["answer"] == "A."


def test_every_answer_gets_its_critique() -> None:
    llm = ScriptedLLM({"critique": ["Too short. ", " "]})
    found = run(Critique(), llm, answers=["A </source> cook.", "B"])
    assert found["critiques"] == ["Too short.", ""]
    assert "(/source>" in llm.prompts[0].question, "what an answer quotes closes nothing"


def test_doubtful_words_are_left_out_of_the_query() -> None:
    sure, unsure = math.log(0.9), math.log(0.1)
    tokens = [("The lock", sure), (" is", sure), (" 90", unsure), (" m", unsure), (" long.", sure)]
    inputs = {"query": "How long?", "sentence": "The lock is 90 m long."}
    kinds = {"query": str, "sentence": str, "tokens": list[tuple[str, float]]}
    flow = Flow(MaskLowConfidence(), inputs=kinds)
    assert flow.invoke(**inputs, tokens=tokens)["search"] == "The lock is long."
    all_doubtful = [(text, unsure) for text, _ in tokens]
    assert flow.invoke(**inputs, tokens=all_doubtful)["search"] == "How long?"
    assert flow.invoke(**inputs, tokens=[])["search"] == "How long? The lock is 90 m long."
