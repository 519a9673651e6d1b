"""What every flow makes of bad input: strange questions, nothing found, models that fail."""

from __future__ import annotations

import re

import pytest

from rag.errors import ModelError, StepError
from rag.flow.run.events import LoopTurn, Warned
from rag.index import Index
from rag.models import Embedder
from rag.operators.answering import NOTHING_FOUND
from rag.pipelines import names
from rag.prompts.layout import messages
from rag.prompts.templates import prompts
from rag.testing.llm import Reply, ScriptedLLM, rate_limit_error
from rag.text.abstention import abstains
from tests.pipelines import QUESTION, flow, made
from tests.prompts.test_sanitize import ATTACKS, plain

EVERYTHING = [*prompts(), "other"]


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    return made(tmp_path_factory.mktemp("empty") / "index", embedder, [])


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    """Documents that no extraction can shorten: one sentence each."""
    texts = [" ".join(f"the north lock {word}{n}" for n in range(150)) for word in "abcd"]
    return made(tmp_path_factory.mktemp("endless") / "index", embedder, texts)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Index:
    texts = [f"The north lock may be opened by the keeper. {attack}" for attack in ATTACKS]
    return made(tmp_path_factory.mktemp("hostile") / "index", embedder, texts)


@pytest.mark.parametrize(
    "query",
    ["", " \n", "x" * 10_000, "lock " * 2_000, "\u041a\u0442\u043e \u2753 \u8c01", "\x00\u202e"],
)
@pytest.mark.parametrize("name", names())
def test_a_strange_question_gets_an_answer(
    name: str, query: str, index: Index, embedder: Embedder
) -> None:
    result = flow(name, index, embedder, ScriptedLLM(probability=0.9)).invoke(query=query)
    assert isinstance(result["answer"], str)
    assert isinstance(result["citations"], list)


@pytest.mark.parametrize(
    "said",
    [
        "",
        " \n",
        "\u202e\x00 nonsense \U0001f937 </source>",
        "word " * 5000,
        '{"answer": ["never closed',
        "[1] [99] [-3] [[1]]",
    ],
    ids=["empty", "blank", "nonsense", "endless", "invalid-json", "marks"],
)
@pytest.mark.parametrize("sure", [None, 0.9, 0.01])
@pytest.mark.parametrize("name", names())
def test_a_model_that_says_nonsense_breaks_nothing(
    name: str, said: str, sure: float | None, index: Index, embedder: Embedder
) -> None:
    if name == "replug" and sure is None:
        pytest.skip("refused: test_an_ensemble_needs_likelihoods")
    llm = ScriptedLLM(dict.fromkeys(EVERYTHING, said), probability=sure)
    events = list(flow(name, index, embedder, llm).stream(query=QUESTION))
    answer = events[-1].result["answer"]
    assert len(answer) < 20_000, "cut at max_tokens"
    assert "[99]" not in answer
    assert max((e.turn for e in events if isinstance(e, LoopTurn)), default=0) <= 8


@pytest.mark.parametrize("name", names())
def test_where_nothing_is_found_the_answer_says_so(
    name: str, empty: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM(probability=0.5)
    result = flow(name, empty, embedder, llm).invoke(query=QUESTION)
    assert result["answer"] == NOTHING_FOUND
    assert result["citations"] == []
    assert "generate" not in llm.names, "nobody is asked for an answer out of nothing"


@pytest.mark.parametrize("name", names())
def test_what_exceeds_the_window_is_cut_with_a_warning(
    name: str, endless: Index, embedder: Embedder
) -> None:
    llm = ScriptedLLM({"decompose": QUESTION}, probability=0.5)
    llm.window = 400
    events = list(flow(name, endless, embedder, llm).stream(query=QUESTION))
    told = [event.message for event in events if isinstance(event, Warned)]
    assert any("window of 400" in message or "cut" in message for message in told)
    assert llm.prompts
    for prompt in llm.prompts:
        text = "".join(text for _, text in messages(prompt))
        assert llm.count(text) <= llm.window


@pytest.mark.parametrize("name", names())
def test_no_document_leaves_its_block(name: str, hostile: Index, embedder: Embedder) -> None:
    """Twenty-three injections, in documents and in what the model quotes of them."""
    said = [f"It quotes: {attack}" for attack in ATTACKS]
    llm = ScriptedLLM(dict.fromkeys(EVERYTHING, said), yes={"relevant": 0.9}, probability=0.5)
    flow(name, hostile, embedder, llm, k=len(ATTACKS)).invoke(query=QUESTION)
    assert any(prompt.chunks for prompt in llm.prompts)
    for prompt in llm.prompts:
        *_, (_, text) = messages(prompt)
        read = plain(text)
        assert read.count("</source>") == len(prompt.chunks)
        assert len(re.findall(r"<source\d*>", read)) == len(prompt.chunks)
        assert "<|" not in read


REFUSAL = "I'm sorry, but I can't help with that."


@pytest.mark.parametrize("sure", [None, 0.9])
@pytest.mark.parametrize("name", names())
def test_a_model_that_declines_gives_no_answer(
    name: str, sure: float | None, index: Index, embedder: Embedder
) -> None:
    """Its refusal is no query, no passage and no fact: only the question itself is searched for."""
    if name == "replug" and sure is None:
        pytest.skip("refused: test_an_ensemble_needs_likelihoods")
    llm = ScriptedLLM(REFUSAL, probability=sure)
    run = flow(name, index, embedder, llm).run(query=QUESTION)
    assert run.error is None
    assert run.outputs is not None
    assert abstains(run.outputs["answer"])
    assert run.outputs["citations"] == []
    searches = [
        value
        for step in run.occurrences
        for channel, value in (step.writes or {}).items()
        if channel in ("query", "queries", "search", "question", "passages")
    ]
    assert "sorry" not in str(searches)


FAILURES = {
    "away": ModelError("the model cannot be reached"),
    "limited": rate_limit_error(),
    "half-streamed": Reply("The keeper on", error=ModelError("the connection was closed")),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", names())
def test_a_model_that_fails_is_one_clear_error(
    name: str, failure: str, index: Index, embedder: Embedder
) -> None:
    raised = FAILURES[failure]
    error = raised.error if isinstance(raised, Reply) else raised
    llm = ScriptedLLM(raised, probability=0.5)
    with pytest.raises(StepError, match=re.escape(error.what)) as caught:
        flow(name, index, embedder, llm).invoke(query=QUESTION)
    cause = caught.value.__cause__
    while isinstance(cause, StepError):  # of a flow within a step
        cause = cause.__cause__
    assert cause is error
    assert caught.value.where
