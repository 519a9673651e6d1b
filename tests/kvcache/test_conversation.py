"""Conversations: the next turn computes its question, and the answer is that of full prefill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from rag.kvcache.composers.registry import composers
from rag.kvcache.decode import decoding
from rag.kvcache.engine import KVEngine
from rag.kvcache.passes import Pass, run
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store.codec import pack, unpack
from tests.kvcache.helpers import (
    CHUNKS,
    CONTEXT,
    PREFIX,
    by_transformers,
    distance,
    make_engine,
    shift,
)

STORING = [mode for mode, kind in composers().items() if kind.stores != "nothing"]
QUESTIONS = [[3, 99, 98, 97, 50, 4], [3, 44, 91, 4], [3, 71, 4]]


@pytest.fixture(scope="module", params=["llama", "mistral-sliding", "gemma3", "smollm3-nope"])
def opened(request: pytest.FixtureRequest) -> KVEngine:
    return make_engine(request.param)


@pytest.fixture
def engine(opened: KVEngine) -> Iterator[KVEngine]:
    opened.store.clear()
    yield opened
    opened.store.clear()


class Talk:
    """A conversation with an engine; records the tokens that each turn computes."""

    def __init__(self, engine: KVEngine, mode: str, **numbers: Any) -> None:
        self.engine, self.settings = engine, ReuseSettings(mode, **numbers)
        self.turns: list[list[int]] = []
        self.computed = 0

    def steps(self, passes: list[Pass]) -> list[torch.Tensor]:
        self.computed += sum(len(one.ids) for one in passes)
        return self.engine.view.steps(passes)

    def ask(
        self, question: list[int], chunks: list[list[int]] = CHUNKS, answer: int = 5, end: int = -1
    ) -> Prefilled:
        """One turn, whose answer ends with the length, or with the token `end`."""
        self.computed = 0
        before = PREFIX, chunks, question

        def greedy(logits: torch.Tensor) -> int:
            return int(logits.argmax()) if end < 0 or len(done.answer) < 3 else end

        with torch.inference_mode():
            work = self.engine.prefilling(*before, self.settings, answer, self.turns)
            done = run(work, self.steps)
            first = done.logits
            tokens = decoding(done, greedy, answer)
            logits = None
            while True:
                try:
                    one = tokens.send(logits)
                except StopIteration:
                    break
                logits = self.engine.view.steps([one])[0] if isinstance(one, Pass) else None
                if one == end:
                    break
            run(self.engine.keeping(*before, self.settings, done, self.turns), self.steps)
        self.turns = [*self.turns, [*question, *done.answer]]
        done.logits = first
        return done

    @property
    def ids(self) -> list[int]:
        return [*PREFIX, *CONTEXT, *(token for turn in self.turns for token in turn)]


@pytest.mark.parametrize("end", [-1, 120])
def test_prefix_is_exact_in_every_turn(engine: KVEngine, end: int) -> None:
    talk = Talk(engine, "prefix")
    for number, question in enumerate(QUESTIONS):
        full = by_transformers(engine, [*talk.ids, *question])
        done = talk.ask(question, end=end)
        assert distance(done.logits.float(), full) < 1e-3
        if number:
            assert talk.computed - (end < 0) == len(question)
            assert done.report.recomputed == 0


@pytest.mark.parametrize("mode", STORING)
def test_the_next_turn_computes_its_question_only(engine: KVEngine, mode: str) -> None:
    talk = Talk(engine, mode)
    for number, question in enumerate(QUESTIONS):
        done = talk.ask(question, end=120)
        if number:
            assert talk.computed == len(question)
            assert (done.report.recomputed, done.report.reused) == (0, len(CONTEXT))
            assert [chunk.hit for chunk in done.report.chunks] == [True] * len(CHUNKS)


@pytest.mark.parametrize("mode", STORING)
@pytest.mark.parametrize("end", [-1, 120])
def test_what_was_kept_is_what_the_buffer_held(engine: KVEngine, mode: str, end: int) -> None:
    """The next turn's logits are those of its question right behind the last answer."""
    talk = Talk(engine, mode)
    for question in QUESTIONS[:2]:
        done = talk.ask(question, answer=30, end=end)
    position = done.position + len(done.answer)
    question = QUESTIONS[2]
    with torch.inference_mode():
        done.buffer.cut(done.length + len(done.answer))
        larger = engine.view.geometry
        assert larger.layers == len(done.buffer.keys)
        done.buffer.keys = torch.cat([done.buffer.keys, larger.empty(9)], dim=2)
        done.buffer.values = torch.cat([done.buffer.values, larger.empty(9)], dim=2)
        done.buffer.positions = torch.cat([done.buffer.positions, torch.zeros(9).long()])
        one = Pass.consecutive(question, position, done.buffer, done.plan)
        (expected,) = engine.view.steps([one])
    assert distance(talk.ask(question).logits, expected[-1]) < 1e-3


@pytest.mark.parametrize("mode", STORING)
def test_other_sources_or_another_past_are_computed(engine: KVEngine, mode: str) -> None:
    for chunks, wrong in ((CHUNKS[::-1], 0), (CHUNKS[:-1], 0), (CHUNKS, 1)):
        talk = Talk(engine, mode)
        talk.ask(QUESTIONS[0])
        talk.turns[0][-1] += wrong
        turn = len(talk.turns[0])
        talk.ask(QUESTIONS[1], chunks)
        assert talk.computed >= len(QUESTIONS[1]) + turn


@pytest.mark.parametrize("mode", ["focus", "craft"])
def test_each_conversation_has_the_context_as_its_own_question_repaired_it(
    engine: KVEngine, mode: str
) -> None:
    """Another conversation about the same sources changes nothing."""
    expected = []
    for others in (False, True):
        engine.store.clear()
        if others:
            other = Talk(engine, mode)
            other.ask([3, 120, 4])
            other.ask([3, 121, 4])
        talk = Talk(engine, mode)
        talk.ask(QUESTIONS[0])
        expected.append(talk.ask(QUESTIONS[1]).logits)
    assert distance(*expected) < 1e-3


@pytest.mark.parametrize("mode", STORING)
def test_a_conversation_that_was_not_kept_is_kept_from_now_on(engine: KVEngine, mode: str) -> None:
    """Evicted, or with new sources: one turn pays, the next one does not."""
    talk = Talk(engine, mode)
    talk.ask(QUESTIONS[0], end=120)
    engine.store.clear()
    talk.ask(QUESTIONS[1], end=120)
    talk.ask(QUESTIONS[2], end=120)
    assert talk.computed == len(QUESTIONS[2])


@pytest.mark.parametrize("mode", ["focus", "ape"])
def test_other_settings_and_salts_find_nothing(engine: KVEngine, mode: str) -> None:
    talk = Talk(engine, mode)
    talk.ask(QUESTIONS[0])
    number = {"fraction": 0.9} if mode == "focus" else {"temperature": 0.3}
    for other in (Talk(engine, mode, **number), Talk(engine.salted("other"), mode)):
        other.turns = talk.turns
        other.ask(QUESTIONS[1])
        assert other.computed > len(QUESTIONS[1])


def test_another_map_finds_nothing(engine: KVEngine) -> None:
    talk = Talk(engine, "align")
    talk.ask(QUESTIONS[0])
    alignment = shift(engine.view.geometry, 0.2)
    talk.engine = replace(engine, defaults=replace(engine.defaults, alignment=alignment))
    talk.ask(QUESTIONS[1])
    assert talk.computed > len(QUESTIONS[1])
    other = Talk(engine, "align")
    other.turns = talk.turns[:1]
    other.ask(QUESTIONS[1])
    assert other.computed < talk.computed


def test_full_keeps_nothing(engine: KVEngine) -> None:
    Talk(engine, "full").ask(QUESTIONS[0])
    assert not list(engine.store.tiers[0].keys())


def test_a_kept_conversation_is_a_file_like_any_other(engine: KVEngine) -> None:
    Talk(engine, "focus").ask(QUESTIONS[0])
    (tier,) = engine.store.tiers
    kept = [one for key in tier.keys() if (one := tier.get(key)) and "positions" in one.tensors]  # noqa: SIM118
    assert len(kept) == 2
    for entry in kept:
        read = unpack("0" * 64, pack("0" * 64, entry))
        assert torch.equal(read.tensors["positions"], entry.tensors["positions"])
