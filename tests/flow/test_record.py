"""The record of a run: what each occurrence of a step read, wrote, sent and cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag import Checkpoints, Flow, Loop, Map, RunContext, RunRecord, operator
from rag.errors import StepError
from rag.flow import Retry
from rag.flow.run import recorder
from rag.flow.run.events import Done
from tests.flow.bricks import explode, inc, total

INT = {"x": int}


@operator(writes="x")
def ask(x: int, *, ctx: RunContext) -> int:
    """Call a model, stream its text, warn and tell."""
    ctx.model_called(
        model="m",
        prompt=[{"role": "user", "content": f"What is {x} <times> two?"}],
        output="double & more",
        prompt_tokens=7,
        completion_tokens=3,
        seconds=0.5,
    )
    ctx.spend(llm_calls=1)
    ctx.token("double")
    ctx.emit("progress", {"done": x})
    ctx.warn("a guess")
    return x * 2


def record() -> RunRecord:
    """Of a flow with a loop and a map."""
    body = Map(over="xs", as_="x", body=ask(), join=total(outputs={"total": "x"}))

    @operator(writes="xs")
    def spread(x: int) -> list[int]:
        return [x, x + 1]

    return Flow(inc() >> Loop(body=spread() >> body, max_turns=2), name="doubling", inputs=INT).run(
        x=0
    )


def test_it_has_every_occurrence_with_what_it_read_and_wrote() -> None:
    found = record()
    assert found.error is None
    assert found.result() == found.outputs == {"x": 26, "xs": [6, 7]}
    assert [str(one.place) for one in found.at("ask")] == [
        f"loop@{turn}/map#{item}/ask" for turn in (1, 2) for item in (0, 1)
    ]
    (first,) = found.at("loop@1/map#0/ask")
    assert (dict(first.inputs), dict(first.writes or {})) == ({"x": 1}, {"x": 2})
    assert (first.attempts, first.source, first.error) == (1, None, None)


def test_it_has_prompts_tokens_texts_and_warnings() -> None:
    found = record()
    first = found.at("ask")[0]
    (call,) = first.calls
    assert (call.model, call.output, call.seconds) == ("m", "double & more", 0.5)
    assert call.prompt[0]["content"] == "What is 1 <times> two?"
    assert (first.tokens, found.tokens, found.llm_calls) == (10, 40, 4)
    assert (first.text, first.events, first.warnings) == (
        "double", [("progress", {"done": 1})], ["a guess"],
    )  # fmt: skip


def test_a_failed_run_has_one_too() -> None:
    flow = Flow(inc() >> explode(retry=Retry(times=1, wait=0)), inputs=INT)
    found = flow.run(x=1)
    assert found.outputs is None
    assert found.channels == {"x": 2}
    (failed,) = found.at("explode")
    assert (failed.attempts, failed.writes, dict(failed.inputs)) == (2, None, {"x": 2})
    assert failed.error == "cannot do 2"
    assert "failed" in str(found)
    with pytest.raises(StepError, match="cannot do 2"):
        found.result()


def test_the_last_event_has_the_same() -> None:
    done = list(Flow(inc(), inputs=INT).stream(x=1))[-1]
    assert isinstance(done, Done)
    assert done.record is not None
    assert done.record.outputs == done.result == {"x": 2}
    assert done.record.id == done.run


def test_what_was_cached_or_stored_says_so(tmp_path: Path) -> None:
    flow = Flow(inc(cache=True), inputs=INT)
    flow.invoke(x=1)
    assert flow.run(x=1).occurrences[0].source == "cache"
    broken = [True]

    @operator(writes="x")
    def breaks(x: int) -> int:
        if broken:
            raise OSError("away")
        return x

    stored = Flow(inc() >> breaks(), inputs=INT)
    with Checkpoints(tmp_path / "runs") as checkpoints:
        run = checkpoints.start(stored, x=1)
        assert run.run().error is not None
        broken.clear()
        again = checkpoints.resume(stored, run.id).run()
    assert [one.source for one in again.occurrences] == ["checkpoint", None]


def test_it_is_exported_as_json() -> None:
    found = record()
    data = json.loads(found.to_json())
    assert data == found.as_dict()
    assert data["flow"] == "doubling"
    assert data["outputs"] == {"x": 26, "xs": [6, 7]}
    place = "loop@1/map#0/ask"
    (first,) = [one for one in data["occurrences"] if one["place"] == place]
    assert first["calls"][0]["prompt"] == [{"role": "user", "content": "What is 1 <times> two?"}]
    assert (first["inputs"], first["writes"], first["tokens"]) == ({"x": 1}, {"x": 2}, 10)


def test_it_is_shown_as_text_indented_by_place() -> None:
    lines = str(record()).splitlines()
    assert lines[0].startswith("run ")
    assert "of doubling: done" in lines[0]
    assert "4 LLM calls, 40 tokens" in lines[0]
    assert lines[1].startswith("  inc  ")
    (line,) = [line for line in lines if "map#0/ask" in line and "loop@1" in line]
    assert line.startswith("      loop@1/map#0/ask  ")
    assert line.endswith("10 tokens  -> x")
    shown = "\n".join(record().lines(values=True))
    for text in ("x = 1", "[user] What is 1 <times> two?", "m (7 + 3 tokens, ", "double & more",
                 "-> x = 2", "warning: a guess"):  # fmt: skip
        assert text in shown


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_shown_in_a_notebook(fails: bool) -> None:
    found: Any = Flow(explode(), inputs=INT).run(x=1) if fails else record()
    html = found._repr_html_()
    assert html.count("<tr>") == len(found.occurrences) + 1
    assert "loop@1/map#0/ask" in html or fails
    assert ("cannot do 1" in html) == fails
    assert ("What is 1 &lt;times&gt; two?" in html) != fails


def test_a_flow_is_drawn_in_a_notebook() -> None:
    html = Flow(inc() >> ask(name="doubles"), inputs=INT)._repr_html_()
    assert html.startswith("<svg")
    assert "doubles" in html


def test_a_run_of_very_many_steps_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST", 20)
    found = Flow(Loop(body=inc(), max_turns=25), inputs=INT).run(x=0)
    assert len(found.occurrences) == 20
    assert found.truncated == 5
    assert str(found).endswith("... and 5 more")
    assert found.outputs == {"x": 25}


def test_the_last_event_is_shown_in_a_notebook_as_its_record_is() -> None:
    *_, done = Flow(inc(), inputs=INT).stream(x=1)
    assert isinstance(done, Done)
    assert done.record is not None
    assert done._repr_html_() == done.record._repr_html_()
