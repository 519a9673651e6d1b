"""Scripted models answer as the script says, and record what they are given."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from pydantic import BaseModel

from rag import Flow, Retry
from rag.errors import ConfigError, ModelError, StepError
from rag.models import Generation, Prompt, Sampling
from rag.operators import Generate, Rewrite
from rag.testing import (
    Reply,
    ScriptedEmbedder,
    ScriptedLLM,
    ScriptedNLI,
    ScriptedReranker,
    rate_limit_error,
    timeout_error,
)

SAMPLING = Sampling()
INPUTS = {"query": str, "documents": list[Document]}
GIVEN: dict[str, Any] = {"query": "Who?", "documents": [Document(page_content="The keeper opens.")]}


def generated(llm: ScriptedLLM, question: str = "Who?", **sampling: Any) -> Generation:
    return asyncio.run(llm.generate(Prompt(question), Sampling(**sampling)))


def test_answers_in_order_and_the_last_again_and_again() -> None:
    llm = ScriptedLLM(["one", "two"])
    assert [generated(llm).text for _ in range(3)] == ["one", "two", "two"]


def test_answers_by_pattern_of_the_whole_prompt() -> None:
    llm = ScriptedLLM(
        {re.compile(r"pump P-\d+"): "240 litres", re.compile("lock"): ["six", "seven"]},
        default="no idea",
    )
    chunked = Prompt("What does it lift?", chunks=("It is pump P-17.",))
    assert asyncio.run(llm.generate(chunked)).text == "240 litres"
    assert [generated(llm, "the lock?").text for _ in range(2)] == ["six", "seven"]
    assert generated(llm, "the boat?").text == "no idea"


def test_answers_by_function() -> None:
    llm = ScriptedLLM(lambda prompt: prompt.question.upper())
    assert [generated(llm, text).text for text in ("who?", "why?")] == ["WHO?", "WHY?"]


def test_answers_by_the_name_of_the_prompt() -> None:
    llm = ScriptedLLM({"rewrite": "locks", "generate": "The keeper."})
    steps = Rewrite() >> Generate()
    flow = Flow(steps, inputs=INPUTS, resources={"llm": llm})
    assert flow.invoke(**GIVEN)["answer"] == "The keeper."
    assert llm.names == ["rewrite", "generate"]
    assert [call.method for call in llm.calls] == ["stream", "stream"]
    assert "locks" in llm.prompts[1].question


def test_a_prompt_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="no prompt 'genarate'") as caught:
        ScriptedLLM({"genarate": "x"})
    assert "generate" in str(caught.value.fix)


class Form(BaseModel):
    n: int


@pytest.mark.parametrize("form", [{"n": 1}, Form(n=1)])
def test_objects_are_written_as_json(form: Any) -> None:
    assert json.loads(generated(ScriptedLLM({"other": form})).text) == {"n": 1}
    constrained = ScriptedLLM({"other": form}, constrained=True)
    done = asyncio.run(constrained.generate_json(Prompt("?"), {"type": "object"}, SAMPLING))
    assert done is not None
    assert json.loads(done.text) == {"n": 1}
    assert constrained.calls[0].schema == {"type": "object"}
    plain = ScriptedLLM({"other": form})
    assert asyncio.run(plain.generate_json(Prompt("?"), {}, SAMPLING)) is None


def streamed(llm: ScriptedLLM) -> tuple[list[Any], Exception | None]:
    pieces: list[Any] = []

    async def main() -> None:
        async for piece in llm.stream(Prompt("Who is it?", "Be brief."), SAMPLING):
            pieces.append(piece)  # noqa: PERF401 - what came before an error counts

    try:
        asyncio.run(main())
    except ModelError as error:
        return pieces, error
    return pieces, None


def test_tokens_are_streamed_and_counted() -> None:
    pieces, error = streamed(ScriptedLLM("The keeper opens."))
    assert error is None
    assert pieces[:-1] == ["The", " keep", "er", " open", "s."]
    assert pieces[-1] == Generation("The keeper opens.", 6, 5, "stop")


def test_a_stream_may_break_off() -> None:
    pieces, error = streamed(ScriptedLLM(Reply("The keep", error=rate_limit_error())))
    assert pieces == ["The", " keep"]
    assert "429" in str(error)


@pytest.mark.parametrize("failure", [rate_limit_error, timeout_error])
def test_a_failure_can_be_tried_again(failure: Callable[[], ModelError]) -> None:
    llm = ScriptedLLM([failure(), "The keeper."])
    flow = Flow(Generate(retry=Retry(times=1, wait=0)), inputs=INPUTS, resources={"llm": llm})
    assert flow.invoke(**GIVEN)["answer"] == "The keeper."
    once = Flow(Generate(), inputs=INPUTS, resources={"llm": ScriptedLLM(failure())})
    with pytest.raises(StepError) as caught:
        once.invoke(**GIVEN)
    assert isinstance(caught.value.__cause__, ModelError)
    assert caught.value.__cause__.fix


def test_a_silent_model_meets_a_time_limit() -> None:
    flow = Flow(
        Generate(timeout=0.01),
        inputs=INPUTS,
        resources={"llm": ScriptedLLM(Reply("The", hangs=True))},
    )
    with pytest.raises(StepError, match=r"0\.01"):
        flow.invoke(**GIVEN)


def test_answers_end_at_a_limit_and_at_a_stop() -> None:
    cut = generated(ScriptedLLM("The keeper opens."), max_tokens=3)
    assert (cut.text, cut.completion_tokens, cut.finish) == ("The keeper", 3, "length")
    stopped = generated(ScriptedLLM("One.\nTwo. Three."), stop=("Three", "\n"))
    assert (stopped.text, stopped.finish) == ("One.", "stop")


def test_log_probabilities_of_tokens() -> None:
    llm = ScriptedLLM(["The keeper", Reply("a b", probability=[0.5, 0.25])], probability=0.1)
    first = generated(llm, logprobs=True).logprobs
    second = generated(llm, logprobs=True).logprobs
    assert first == tuple((text, math.log(0.1)) for text in ("The", " keep", "er"))
    assert second == (("a", math.log(0.5)), (" b", math.log(0.25)))
    assert generated(llm).logprobs is None
    surprisals = asyncio.run(llm.token_surprisal("The keeper"))
    assert surprisals == [(0, 3, -math.log(0.1)), (3, 8, -math.log(0.1)), (8, 10, -math.log(0.1))]
    bare = ScriptedLLM()
    with pytest.raises(ModelError, match="log-probabilities"):
        asyncio.run(bare.score(Prompt("?"), ["Yes"]))
    with pytest.raises(ModelError, match="log-probabilities"):
        asyncio.run(bare.token_surprisal("a"))


def test_yes_and_no_by_name() -> None:
    llm = ScriptedLLM(yes={"other": [0.8, 0.1]})
    for chance in (0.8, 0.1):
        yes, no = asyncio.run(llm.score(Prompt("Is it?"), ["Yes", "No"]))
        assert math.exp(yes.total) == pytest.approx(chance)
        assert math.exp(no.total) == pytest.approx(1 - chance)
    assert llm.calls[0].candidates == ("Yes", "No")


def test_texts_that_share_words_are_near() -> None:
    embedder = ScriptedEmbedder()
    lock, same, pump = embedder.embed(["the north lock", "Lock, the north!", "a loud pump"])
    assert np.allclose(lock, same, atol=1e-6)
    assert lock @ embedder.embed_query("which lock") > 0.3 > pump @ lock
    assert (embedder.texts, embedder.queries) == (
        ["the north lock", "Lock, the north!", "a loud pump"],
        ["which lock"],
    )
    assert [len(one) for one in embedder.token_vectors(["a lock", ""])] == [2, 0]
    assert embedder.lengths(["a lock", ""]) == [2, 0]


def test_vectors_and_errors_on_purpose() -> None:
    embedder = ScriptedEmbedder(2, vectors={"a": [3, 4], "b": [1], "c": timeout_error()})
    assert np.allclose(embedder.embed_query("a"), [0.6, 0.8])
    with pytest.raises(ModelError, match="has 1 numbers"):
        embedder.embed(["b"])
    with pytest.raises(ModelError, match="timed out"):
        embedder.embed(["c"])


def test_the_embedder_is_the_same_in_every_process() -> None:
    code = (
        "from rag.testing import ScriptedEmbedder\n"
        "print(ScriptedEmbedder().embed_query('lock').tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ScriptedEmbedder().embed_query("lock").tobytes().hex()


def test_a_reranker_and_nli_compare_words() -> None:
    reranker = ScriptedReranker({"special": 5.0})
    assert reranker.score("north lock", ["a north lock", "a lock", "x", "special"]) == [
        1,
        0.5,
        0,
        5,
    ]
    nli = ScriptedNLI({"it is": 0.25})
    assert nli.entails(["the lock opens", "x"], "the lock") == [1.0, 0.0]
    assert nli.entails(["x", "y"], "it is") == [0.25, 0.25]
    assert reranker.calls[0][0] == "north lock"
    assert nli.calls[1] == (("x", "y"), "it is")


WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = None
from rag.testing import ScriptedEmbedder, ScriptedLLM, assert_ran
from rag.errors import ConfigError
assert "torch" not in sys.modules
try:
    from rag.testing import OperatorSuite
except ConfigError as error:
    print(error)
"""


def test_only_the_suites_need_pytest() -> None:
    command = [sys.executable, "-c", WITHOUT_PYTEST]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "the conformance suites need pytest" in done.stdout, done.stderr
    assert "fix: pip install pytest" in done.stdout
