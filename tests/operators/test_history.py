"""Answers in a conversation, and how their tokens are sampled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.documents import Document

from rag.errors import InputError, StepError
from rag.flow import Flow, Operator, load_flow
from rag.flow.run.events import Warned
from rag.models import LLM, Sampling
from rag.operators import (
    Generate,
    KnowledgeJudge,
    LLMFusion,
    MapReduce,
    NextSentence,
    Refine,
    Replug,
    StructuredAnswer,
)
from rag.operators.history import History, turns
from rag.prompts.layout import messages
from rag.serve.pipelines.pipeline import Overrides, Pipeline
from rag.testing.llm import ScriptedLLM

DOCUMENTS = [
    Document(page_content="The south lock opens from April to October."),
    Document(page_content="The north lock is 120 m long."),
]
TURNS: History = [
    {"role": "user", "content": "Does the south lock open all year?"},
    {"role": "assistant", "content": "No </source> it does not."},
]
PAIRS = (
    ("user", "Does the south lock open all year?"),
    ("assistant", "No (/source> it does not."),
)
ANSWERING = [
    Generate(), Refine(group=1), MapReduce(), StructuredAnswer(), Replug(), NextSentence(),
    LLMFusion(),
]  # fmt: skip


def run(step: Operator, llm: LLM, **inputs: Any) -> tuple[dict[str, Any], list[str]]:
    """The result, and the warnings."""
    given = {"query": "In which months?", "documents": DOCUMENTS, **inputs}
    if isinstance(step, LLMFusion):
        given["answer"] = ["In April.", "In May."]
    kinds = {port.name: port.type for port in step.signature().reads if port.name in given}
    flow = Flow(step, inputs=kinds, resources={"llm": llm})
    events = list(flow.stream(**{name: given[name] for name in kinds}))
    warnings = [event.message for event in events if isinstance(event, Warned)]
    return events[-1].result, warnings


@pytest.mark.parametrize("step", [*ANSWERING, KnowledgeJudge()], ids=lambda step: step.use)
def test_the_model_sees_earlier_turns(step: Operator) -> None:
    llm = ScriptedLLM({"structured_answer": '{"answer": "In April."}'}, probability=0.5)
    run(step, llm, history=TURNS)
    assert llm.prompts
    assert all(prompt.history == PAIRS for prompt in llm.prompts)
    roles = [role for role, _ in messages(llm.prompts[0])]
    assert roles == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("history", [None, []])
def test_there_need_not_be_a_history(history: Any) -> None:
    llm = ScriptedLLM()
    run(Generate(), llm, history=history)
    run(Generate(), llm)
    first, second = llm.prompts
    assert first.continues == (history is not None)
    assert replace(first, continues=False) == second
    assert first.history == ()


def test_a_pipeline_file_takes_a_history() -> None:
    flow = load_flow(
        """
        name: chat
        inputs:
          query: str
          documents: list[Document]
          history: list[dict[str, str]] | none
        steps:
          - {use: generate, temperature: 0.7, top_p: 0.9, seed: 1}
        """
    )
    assert load_flow(flow.to_yaml()) == flow
    llm = ScriptedLLM()
    served = flow.with_resources(llm=llm)
    served.invoke(query="In which months?", documents=DOCUMENTS, history=TURNS)
    served.invoke(query="In which months?", documents=DOCUMENTS)
    assert [prompt.history for prompt in llm.prompts] == [PAIRS, ()]
    assert {(one.temperature, one.top_p, one.seed) for one in llm.samplings} == {(0.7, 0.9, 1)}


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "system", "content": "Obey."},
        {"role": "user"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "?"}]},
        "Who?",
    ],
)
def test_a_turn_that_is_none_is_named(turn: Any) -> None:
    with pytest.raises(InputError, match="turn 2 of the history is") as caught:
        turns([*TURNS, turn])
    assert "role: assistant" in str(caught.value.fix)
    with pytest.raises(StepError, match="turn 2 of the history"):
        run(Generate(), ScriptedLLM(), history=[*TURNS, turn])


def test_the_latest_turns_fit_and_leave_room_for_documents() -> None:
    llm = ScriptedLLM()
    llm.window = 1000
    history = [
        {"role": role, "content": f"{number} " + "word " * 60}
        for number in range(8)
        for role in ("user", "assistant")
    ]
    _, warnings = run(Generate(), llm, history=history)
    (prompt,) = llm.prompts
    # 1000 tokens without prompt, question, answer and template are some 780; half of them hold
    # four turns of 84, of which the first would be a question.
    assert [role for role, _ in prompt.history] == ["user", "assistant"] * 2
    assert [text[0] for _, text in prompt.history] == ["6", "6", "7", "7"]
    assert len(prompt.chunks) == 2
    assert warnings == [
        "the first 12 of 16 earlier turns do not fit the model's window of 1000 tokens"
    ]
    assert llm.count("".join(text for _, text in messages(prompt))) <= llm.window - 128


def test_what_is_shown_begins_with_a_question() -> None:
    llm = ScriptedLLM()
    llm.window = 1000
    history = [
        {"role": "user", "content": "word " * 400},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Ice."},
    ]
    _, warnings = run(Generate(), llm, history=history)
    assert llm.prompts[0].history == (("user", "Why?"), ("assistant", "Ice."))
    assert warnings == [
        "the first 2 of 4 earlier turns do not fit the model's window of 1000 tokens"
    ]
    greeted = [{"role": "assistant", "content": "Hello."}]
    run(Generate(), llm, history=greeted)
    assert llm.prompts[1].history == (("assistant", "Hello."),), "what fits is left as it is"


def test_without_documents_the_history_has_the_room() -> None:
    llm = ScriptedLLM(probability=0.5)
    llm.window = 1000
    history = [{"role": "user", "content": "word " * 400}]
    run(KnowledgeJudge(), llm, history=history)
    assert len(llm.prompts[0].history) == 1


@pytest.mark.parametrize("step", ANSWERING, ids=lambda step: step.use)
def test_tokens_are_sampled_as_the_step_says(step: Operator) -> None:
    llm = ScriptedLLM({"structured_answer": '{"answer": "In April."}'}, probability=0.5)
    run(step, llm)
    assert {(one.temperature, one.top_p, one.seed) for one in llm.samplings} == {(None, None, None)}
    llm.calls.clear()
    run(step.model_copy(update={"temperature": 0.7, "top_p": 0.9, "seed": 3}), llm)
    assert {(one.temperature, one.top_p, one.seed) for one in llm.samplings} == {(0.7, 0.9, 3)}
    llm.calls.clear()
    run(step.model_copy(update={"max_tokens": 40}), llm)
    assert {one.max_tokens for one in llm.samplings} == {40}


def test_a_request_may_set_how_tokens_are_sampled() -> None:
    llm = ScriptedLLM()
    kinds = {"query": str, "documents": list[Document]}
    flow = Flow(Generate(), inputs=kinds, resources={"llm": llm})
    config = Pipeline("chat", flow).config(Overrides(top_p=0.1, temperature=0.5))
    flow.invoke(query="?", documents=DOCUMENTS, config=config)
    assert llm.samplings == [Sampling(max_tokens=128, temperature=0.5, top_p=0.1)]


def test_the_local_model_remembers_the_conversation(llm: LLM) -> None:
    history = [
        {"role": "user", "content": "My dog is called Bruno."},
        {"role": "assistant", "content": "Bruno is a nice name for a dog."},
    ]
    given = {"query": "What is my dog called?", "documents": [Document(page_content="Dogs bark.")]}
    step = Generate(max_tokens=16)
    assert "Bruno" in run(step, llm, **given, history=history)[0]["answer"]
    assert "Bruno" not in run(step, llm, **given)[0]["answer"]


def test_the_local_model_samples_from_the_nucleus(llm: LLM) -> None:
    greedy = run(Generate(max_tokens=8), llm)[0]["answer"]
    warm = {"max_tokens": 8, "temperature": 2.0, "seed": 1}
    assert run(Generate(**warm, top_p=1e-6), llm)[0]["answer"] == greedy
    assert run(Generate(**warm), llm)[0]["answer"] != greedy
