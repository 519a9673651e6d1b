"""The local engine: a causal language model in this process, streamed token by token."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError
from rag.kvcache.native.config import ends_of
from rag.kvcache.native.decoder import Decoder
from rag.kvcache.native.view import NativeView
from rag.kvcache.passes import Pass, Passes
from rag.models.llm import LLM, Generation, Sampling, Scored
from rag.models.local import logprobs
from rag.models.local.answer import Tokens, decode_stream, library_tokens
from rag.models.local.grammar import Grammar, grammar_tokenizer
from rag.models.local.sampler import Sampler
from rag.models.local.scheduler import BUFFERS, Reserve, Scheduler, Work
from rag.models.local.states import States, compute_states
from rag.models.local.template import ChatTemplate
from rag.models.profiles import Profile, local
from rag.models.reasoning import without_reasoning
from rag.prompts.layout import PromptTokens
from rag.prompts.prompt import Prompt

if TYPE_CHECKING:
    import torch

    from rag.kvcache.engine import KVEngine
    from rag.kvcache.model import ModelView
    from rag.kvcache.prefilled import Prefilled
    from rag.kvcache.settings import ReuseSettings
    from rag.kvcache.store.tiered import KVStore

DRAFT, DRAFT_QUANTIZED = 8, 3
"""Tokens proposed at a time where an answer quotes its sources: with quantised weights every
further token of a pass costs time, otherwise hardly."""


class LocalLLM(LLM):
    """A language model on this machine.

    Requests are decoded together, in one thread that also renders and tokenises their prompts
    (`rag.models.local.scheduler`).

    Args:
        id: The model's name.
        model: A `Decoder`, or a causal language model of transformers.
        tokenizer: Its `FastTokenizer`, or fast tokenizer of transformers, with a chat template.
        window: Tokens that prompt and answer may have together.
        kv: Where states are stored (see `rag.kvcache.store.open_store`), and the folder that its
            relative paths start from.
        salt: The user's: states are never shared between salts.
        weights: What is decoded with (`LLMSpec.weights`); a `Decoder` has them so already.
        buffers: Bytes of the states of all requests that are worked on.
        profile: What operators depend on; it reasons only if the profile says so.
    """

    supports_logprobs = True

    def __init__(
        self,
        id: str,  # noqa: A002
        model: Any,
        tokenizer: Any,
        window: int,
        kv: tuple[Any, Path] = (None, Path()),
        salt: str = "",
        weights: str = "full",
        buffers: int = BUFFERS,
        profile: Profile | None = None,
    ) -> None:
        self.id = id
        self.profile = profile or local(id, model.config)
        self.model = model
        self.tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer, reasoning=self.profile.reasoning > 0)
        self.window = window
        self._weights, self._quantized = weights, weights != "full"
        self._lock = threading.RLock()
        self._kv = kv
        self._salt = salt
        self._engine: KVEngine | None = None
        self._scheduler = Scheduler(self._steps, buffers)
        own = model.config.ends if isinstance(model, Decoder) else ends_of(model)
        ends = [*own, tokenizer.eos_token_id]
        self.ends = frozenset(token for token in ends if token is not None)
        """The tokens that end an answer."""

    def count(self, text: str) -> int:
        """See `LLM.count`."""
        return len(self.template.encode(text))

    def clip(self, text: str, tokens: int) -> str:
        """See `LLM.clip`."""
        return self.template.clip(text, tokens)

    def fit(self, prompt: Prompt, room: int = 1) -> PromptTokens:
        """The prompt's tokens, which leave room for so many more.

        Raises:
            ModelError: They exceed the window.
        """
        tokens = self.template.tokenize(prompt)
        if tokens.total + room > self.window:
            raise ModelError(
                f"the prompt has {tokens.total} tokens, the window of {self.id!r} is {self.window}",
                fix="pack fewer documents, or use a model with a larger window",
            )
        return tokens

    @property
    def engine(self) -> KVEngine:
        """What composes prompts from stored states; built at first use.

        Raises:
            ModelError: Not even plain prefill of this model is supported, or not with quantised
                weights.
            ConfigError: `kv` describes no store.
        """
        with self._lock:
            if self._engine is None:
                from rag.kvcache import calibrate
                from rag.kvcache.engine import KVEngine
                from rag.kvcache.keys import Keys
                from rag.kvcache.store import open_store

                view = self._view()
                fingerprint = view.fingerprint()
                keys = Keys(fingerprint, self._salt)
                defaults = calibrate.defaults_for(fingerprint, view.geometry)
                self._engine = KVEngine(view, open_store(*self._kv), keys, defaults)
            return self._engine

    @property
    def store(self) -> KVStore | None:
        """Where states are stored; None before the first use."""
        return None if self._engine is None else self._engine.store

    @property
    def reuses(self) -> bool:
        """See `LLM.reuses`; False for a model that the KV buffer does not support."""
        try:
            return bool(self.engine.view.attends)
        except ModelError:
            return False

    def _view(self) -> ModelView:
        if isinstance(self.model, Decoder):
            return NativeView(self.model, self.id)
        from rag.kvcache.opening import open_view  # imports transformers

        return open_view(self.model, self.id, self._weights)

    def salted(self, salt: str, shared: Mapping[str, str] | None = None) -> LocalLLM:
        """A view of this model whose stored states are keyed with another salt.

        Weights, store and scheduler are shared, so requests of all views are decoded together.

        Args:
            salt: The user's.
            shared: Collection to the salt of the states of its chunks, which all users of the
                collection share (`Prompt.scopes`).
        """
        view = copy.copy(self)
        view._salt = salt
        try:
            own = self.engine
        except ModelError:
            return view  # not even plain prefill is supported: nothing is ever stored
        view._engine = own.salted(salt, shared)
        return view

    def close(self) -> None:
        """Let the store finish writing."""
        if self._engine is not None:
            self._engine.store.close()
            self._engine = None

    def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: ReuseSettings | None = None
    ) -> AsyncGenerator[str | Generation]:
        """See `LLM.stream`. The model works in its thread; closing the stream stops it."""
        pieces: AsyncGenerator[str | Generation] = self._scheduler.stream(
            self._generate(prompt, sampling, reuse)
        )
        return without_reasoning(pieces, inside=self.template.opens_reasoning)

    async def generate_json(
        self, prompt: Prompt, schema: Mapping[str, Any], sampling: Sampling
    ) -> Generation | None:
        """See `LLM.generate_json`; None where llguidance is not installed."""
        # Built in a thread of its own: it takes a second, and others are being decoded.
        tokenizer = await asyncio.to_thread(
            grammar_tokenizer, self.tokenizer, int(self.model.config.vocab_size), min(self.ends)
        )
        if tokenizer is None:
            return None
        work = self._generate(prompt, sampling, None, (tokenizer, schema))
        *_, done = [piece async for piece in self._scheduler.stream(work)]
        if not isinstance(done, Generation):
            raise RuntimeError(f"{self.id} ended its answer without a result")
        return done

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        """See `LLM.score`."""
        work = logprobs.score(self, prompt, answers)
        return [scored async for scored in self._scheduler.stream(work)]

    async def token_surprisal(self, text: str, after: str = "") -> list[tuple[int, int, float]]:
        """See `LLM.token_surprisal`."""
        work = logprobs.token_surprisal(self, text, after)
        return [token async for token in self._scheduler.stream(work)]

    def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncGenerator[str | Generation]:
        """See `LLM.ensemble`; the states of all prompts are in memory at once."""
        return self._scheduler.stream(self._mix(logprobs.weighted(prompts, weights), sampling))

    # What follows runs in the model's thread.

    def states(self, tokens: PromptTokens, room: int) -> Passes[States]:
        """The exact states of a prompt, with room for so many tokens more."""
        return compute_states(self._supporting_engine(None), self.model, tokens, room)

    def reserve(self, tokens: int) -> Reserve:
        """Room for the states of so many tokens, which a request asks for before it has them."""
        engine = self._supporting_engine(None)
        return Reserve(0 if engine is None else engine.view.geometry.bytes(tokens))

    def _steps(self, passes: list[Pass]) -> list[torch.Tensor]:
        return self.engine.view.steps(passes)

    def _generate(
        self,
        prompt: Prompt,
        sampling: Sampling,
        reuse: ReuseSettings | None,
        constraint: tuple[Any, Mapping[str, Any]] | None = None,
    ) -> Work[str | Generation]:
        """The answer to a prompt; `constraint` is a `grammar_tokenizer` and a JSON schema."""
        tokens = self.fit(prompt)
        grammar = None if constraint is None else Grammar(*constraint)
        sampler = Sampler(sampling, self.model.device, grammar)
        allowed = sampling.max_tokens + (self.profile.reasoning if grammar is None else 0)
        limit = min(allowed, self.window - tokens.total)
        yield self.reserve(tokens.total + limit)
        sampled, done = yield from self._sample(tokens, sampler, reuse, limit)
        report = None if done is None or reuse is None else done.report.as_dict()
        yield from decode_stream(sampled, sampler, self.tokenizer, self.ends, tokens.total, report)
        if done is None or reuse is None or not prompt.continues:
            return
        # An answer decoded with quantised weights is near to that of full prefill, not the same.
        if not self._quantized or reuse.composer.kind != "exact":
            yield from self.engine.keeping(*tokens[:3], reuse, done, tokens.turns)

    def _mix(
        self, prompts: list[tuple[Prompt, float]], sampling: Sampling
    ) -> Work[str | Generation]:
        """The answer to several prompts with weights."""
        each = [self.fit(prompt) for prompt, _ in prompts]
        weights = [weight for _, weight in prompts]
        limit = min(sampling.max_tokens, *(self.window - tokens.total for tokens in each))
        sampler = Sampler(sampling, self.model.device)
        yield self.reserve(sum(tokens.total + limit for tokens in each))
        sampled = logprobs.mixed(self, each, weights, sampler, limit)
        total = sum(tokens.total for tokens in each)
        yield from decode_stream(sampled, sampler, self.tokenizer, self.ends, total)

    def _sample(
        self, tokens: PromptTokens, sampler: Sampler, reuse: ReuseSettings | None, limit: int
    ) -> Passes[tuple[Tokens, Prefilled | None]]:
        """The answer's tokens, and the prompt's states if they are in a KV buffer."""
        from rag.kvcache.decode import decoding
        from rag.kvcache.settings import ReuseSettings

        engine = self._supporting_engine(reuse)
        if engine is None:
            return library_tokens(self.model, tokens.ids, sampler, limit), None
        settings = reuse or ReuseSettings(mode="full")
        done = yield from engine.prefilling(
            *tokens[:3], settings, limit, tokens.turns, tokens.scopes
        )
        draft = 0 if sampler.stateful else DRAFT_QUANTIZED if self._quantized else DRAFT
        quotable = [token for chunk in tokens.chunks for token in chunk]
        return decoding(done, sampler, limit, quotable, draft), done

    def _supporting_engine(self, reuse: ReuseSettings | None) -> KVEngine | None:
        """The engine; None for a model that it does not support, if nothing is to be composed."""
        reuses = reuse is not None and reuse.mode != "full"
        try:
            engine = self.engine
        except ModelError:
            if self._quantized or reuses:
                raise
            return None
        return engine if engine.view.attends or reuses else None
