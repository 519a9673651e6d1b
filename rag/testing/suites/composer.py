"""What holds for every composer, on every architecture that the cache understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import pytest
import torch

from rag.kvcache.composers.registry import composer
from rag.kvcache.composition import Defaults
from rag.kvcache.engine import KVEngine
from rag.kvcache.keys import Keys
from rag.kvcache.library import LibraryView
from rag.kvcache.model import ModelView
from rag.kvcache.opening import open_view
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store.memory import MemoryTier
from rag.kvcache.store.tiered import KVStore
from rag.testing.tiny_models import ARCHITECTURES, tiny_model

PREFIX = [1, 5, 9, 17, 33]
CHUNKS = [list(range(10, 31)), list(range(60, 77)), list(range(31, 60)), [7, 7, 8]]
SUFFIX = [3, 99, 98, 97, 50, 4]
AWKWARD = [CHUNKS[1], [], [44], CHUNKS[3], CHUNKS[1], [44]]
"""An empty chunk, one of a single token, and two that come twice."""
CLOSE = 1e-3
"""How far logits of float32 may differ that are the same to rounding."""

Chunks = Sequence[Sequence[int]]


@cache
def engine_of(architecture: str) -> KVEngine:
    """An engine over a tiny model, with a store in memory."""
    view = open_view(tiny_model(architecture), architecture)
    return KVEngine(view, KVStore([MemoryTier(1 << 28)]), Keys(architecture))


def joined(chunks: Chunks) -> list[int]:
    """The token ids of a prompt with these chunks."""
    return [*PREFIX, *(token for chunk in chunks for token in chunk), *SUFFIX]


def original_logits(engine: KVEngine, ids: list[int]) -> torch.Tensor:
    """The logits [vocabulary] behind a prompt by transformers alone."""
    assert isinstance(engine.view, LibraryView)
    return engine.view.original_logits(torch.tensor(ids)).float()


class ComposerSuite:
    """Tests of a composer. Subclass it in a test module, and give its `mode`.

    Attributes:
        mode: The composer's name in `reuse: {mode: ...}`. Its class has been defined: import it.
        settings: Its settings in all tests.
        everything: Further settings with which every token of the context is computed again, or
            none is reweighted: the result is that of full prefill. None: `fraction: 1` where it
            has that setting, nothing where its kind is `exact`; for other composers there is no
            such test.
        alone: Further settings with which a single chunk is as in full prefill.
        architectures: Of `rag.testing.tiny_models`.
    """

    mode: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    everything: ClassVar[Mapping[str, Any] | None] = None
    alone: ClassVar[Mapping[str, Any]] = {}
    architectures: ClassVar[Sequence[str]] = ARCHITECTURES

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        """Run each test that takes `architecture` with all of them."""
        if "architecture" in metafunc.fixturenames:
            metafunc.parametrize("architecture", cls.architectures)

    @pytest.fixture
    def engine(self, architecture: str) -> KVEngine:
        """The engine of an architecture, with an empty store."""
        return self._engine(architecture)

    def defaults(self, view: ModelView) -> Defaults:
        """What calibration would find for the model, for a composer that needs it."""
        return Defaults()

    def _engine(self, architecture: str) -> KVEngine:
        engine = engine_of(architecture)
        engine.store.clear()
        return replace(engine, defaults=self.defaults(engine.view))

    def prefill(self, engine: KVEngine, chunks: Chunks = CHUNKS, **settings: Any) -> Prefilled:
        """A prompt composed by the composer."""
        reuse = ReuseSettings(self.mode, **{**self.settings, **settings})
        return engine.prefill(PREFIX, chunks, SUFFIX, reuse)

    def full(self, engine: KVEngine, chunks: Chunks = CHUNKS) -> torch.Tensor:
        """The logits [vocabulary] that transformers gives by itself."""
        return original_logits(engine, joined(chunks))

    def assert_full(self, engine: KVEngine, chunks: Chunks, **settings: Any) -> None:
        """The prompt is that of full prefill, with an empty store and with a filled one."""
        engine.store.clear()
        full = self.full(engine, chunks)
        for state in ("cold", "warm"):
            logits = self.prefill(engine, chunks, **settings).logits.float()
            far = float((logits - full).abs().max())
            assert far < CLOSE, f"with a {state} store the logits differ by {far:.2g}"

    def _everything(self) -> Mapping[str, Any]:
        kind = composer(self.mode)
        if self.everything is not None:
            return self.everything
        if kind.kind == "exact":
            return {}
        if "fraction" not in kind.model_fields:
            pytest.skip("no settings compute everything again")
        return {"fraction": 1.0}

    def test_everything_computed_again_is_full_prefill(self, engine: KVEngine) -> None:
        """Whatever the chunks are; exact composers are always."""
        everything = self._everything()
        self.assert_full(engine, CHUNKS, **everything)
        self.assert_full(engine, AWKWARD, **everything)

    def test_a_chunk_behind_the_prefix_alone_is_full_prefill(self, engine: KVEngine) -> None:
        """It was computed where it stands."""
        self.assert_full(engine, CHUNKS[:1], **self.alone)

    def test_it_is_deterministic(self) -> None:
        """The same prompts from an empty store on give the same logits; any chunks give numbers."""
        engine = self.llama()
        for chunks in (CHUNKS, AWKWARD):
            found = []
            for _ in range(2):
                engine.store.clear()
                self.prefill(engine, chunks)
                found.append(self.prefill(engine, chunks).logits)
            assert bool(found[0].isfinite().all())
            assert torch.equal(found[0], found[1])

    def test_a_prompt_without_chunks_is_full_prefill(self) -> None:
        """With and without a suffix, with empty chunks."""
        engine = self.llama()
        full = self.full(engine, [])
        reuse = ReuseSettings(self.mode, **self.settings)
        nothing: list[list[list[int]]] = [[], [[]], [[], []]]
        for chunks in nothing:
            for prefix, suffix in ((PREFIX, SUFFIX), ([*PREFIX, *SUFFIX], [])):
                done = engine.prefill(prefix, chunks, suffix, reuse)
                assert float((done.logits - full).abs().max()) < CLOSE
                assert done.report.chunks == []

    def test_a_prompt_without_a_prefix_is_full_prefill(self) -> None:
        """The first chunk begins the prompt."""
        engine = self.llama()
        full = original_logits(engine, [*CHUNKS[0], *SUFFIX])
        reuse = ReuseSettings(self.mode, **{**self.settings, **self.alone})
        for _ in ("cold", "warm"):
            done = engine.prefill([], CHUNKS[:1], SUFFIX, reuse)
            assert float((done.logits - full).abs().max()) < CLOSE

    def test_the_report_adds_up(self) -> None:
        """Every token of every chunk is reused or computed, and no chunk is left out."""
        engine = self.llama()
        kind = composer(self.mode)().resolved(engine.defaults)
        for chunks in (CHUNKS, AWKWARD):
            engine.store.clear()
            sizes = [len(chunk) for chunk in chunks if chunk]
            for warm in (False, True):
                report = self.prefill(engine, chunks).report
                assert (report.mode, report.kind) == (kind.mode, kind.kind)
                assert report.tokens == len(joined(chunks))
                assert [chunk.tokens for chunk in report.chunks] == sizes
                assert report.reused + report.recomputed == sum(sizes)
                assert all(0 <= one.recomputed <= one.tokens for one in report.chunks)
                assert all((one.why is None) == one.hit for one in report.chunks)
                assert {"recompute", "first_token"} <= report.milliseconds.keys()
                if kind.stores == "nothing":
                    assert not any(one.hit for one in report.chunks)
                elif warm:
                    assert all(one.hit for one in report.chunks)

    def test_salts_never_share(self) -> None:
        """A user's states are not found by another."""
        engine = self.llama()
        self.prefill(engine)
        for salt in ("another", "third"):
            report = self.prefill(engine.salted(salt)).report
            assert not any(chunk.hit for chunk in report.chunks)

    def test_stored_states_stand_alone(self) -> None:
        """They are no views of a buffer, which would stay in memory and change."""
        engine = self.llama()
        done = self.prefill(engine)
        (tier,) = engine.store.tiers
        for entry in map(tier.get, tier.keys()):
            assert entry is not None
            for name in ("keys", "values"):
                tensor = entry.tensors[name]
                assert tensor.untyped_storage().nbytes() == tensor.nbytes
                assert tensor.untyped_storage().data_ptr() != done.buffer.keys.data_ptr()

    def test_an_unknown_setting_is_refused(self) -> None:
        """A misspelt setting is an error and not ignored."""
        with pytest.raises(Exception, match="no_such_setting"):
            ReuseSettings(self.mode, **{**self.settings, "no_such_setting": 1})

    def llama(self) -> KVEngine:
        """An engine of the plainest architecture, with an empty store."""
        return self._engine("llama")
