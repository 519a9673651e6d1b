"""The local engine: a causal language model by transformers, streamed token by token."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from rag.errors import ConfigError, ModelError
from rag.kvcache.model import cache_name
from rag.kvcache.passes import Pass
from rag.models.base import LLM, Generation, M, Prompt, Sampling
from rag.models.choice import Scored
from rag.models.local.detokenizer import Text, cut
from rag.models.local.encoders import unreadable
from rag.models.local.sampler import Chosen
from rag.models.local.scheduler import Scheduler
from rag.models.opening.find import find_model, huge_pages
from rag.models.opening.gguf import converted
from rag.prompts.layout import Parts, length, pieces_of

if TYPE_CHECKING:
    import torch

    from rag.kvcache.engine import KVEngine
    from rag.kvcache.settings import ContextSettings
    from rag.models.structured import Filled, Grammar

Tokens = Generator["int | Pass", "torch.Tensor | None", None]
"""An answer's tokens, and between them passes whose logits are sent."""
Saying = Generator["str | Generation | Pass", "torch.Tensor | None", None]
"""The same as text, and last the result."""
_CUT = "\x00"
DRAFT, DRAFT_INT8 = 8, 3
"""Tokens proposed at a time where an answer quotes its sources: in eight bits every further token
of a pass costs time, otherwise hardly."""


class LocalLLM(LLM):
    """A transformers model on this machine.

    Requests are decoded together (see `rag.models.local.scheduler`).

    Args:
        id: The model's name.
        model: A causal language model of transformers.
        tokenizer: Its tokenizer, with a chat template.
        window: Tokens that prompt and answer may have together.
        kv: Where states are kept (see `rag.kvcache.store.open_store`), and the folder that its
            relative paths start from.
        salt: The tenant's: states are never shared between salts.
        int8: Decode with weights in eight bits.
    """

    scores: ClassVar[bool] = True

    def __init__(
        self,
        id: str,  # noqa: A002
        model: Any,
        tokenizer: Any,
        window: int,
        kv: tuple[Any, Path] = (None, Path()),
        salt: str = "",
        int8: bool = False,
    ) -> None:
        self.id = id
        self._int8 = int8
        self.window = window
        self._model = model
        self._tokenizer = tokenizer
        self._lock = threading.RLock()
        self._kv = kv
        self._salt = salt
        self._engine: KVEngine | None = None
        self._scheduler = Scheduler(self._steps)
        ends = model.generation_config.eos_token_id
        self._ends = set(ends) if isinstance(ends, list) else {ends}
        self._ends.add(tokenizer.eos_token_id)

    @classmethod
    def open(
        cls,
        model: str,
        base: Path,
        dtype: str = "auto",
        window: int | None = None,
        threads: int | None = None,
        int8: bool = False,
        kv: Any = None,
        salt: str = "",
    ) -> Self:
        """Load a model.

        Args:
            model: As `find_model` takes it.
            base: Where relative paths start from.
            dtype: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 where the processor
                computes in it.
            window: Tokens for prompt and answer; default: what the model was made for.
            threads: Processor threads for torch; default: torch's choice.
            int8: Decode with weights in eight bits, a scale for each row: half of the memory
                traffic, nearly the same answers. Prompts are computed in `dtype`.
            kv: Where the states of chunks are kept: a folder, or tiers and their sizes.
            salt: The tenant's: states are never shared between salts.

        Raises:
            ModelError: There is no such model, or it cannot be read.
        """
        files = find_model(model, base)
        folder = str(converted(files.gguf)) if files.gguf else files.place
        huge_pages()
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if threads:
            torch.set_num_threads(threads)
        device = _device()
        number = _dtype(dtype, device)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=number)
        except Exception as error:  # the libraries below raise of every kind
            raise unreadable(files, error) from error
        if not tokenizer.chat_template:
            raise ModelError(
                f"the model {files.name!r} has no chat template",
                fix="name an instruction-tuned model",
            )
        made_for = int(getattr(loaded.config, "max_position_embeddings", 4096))
        length = min(window or made_for, made_for)
        return cls(files.name, loaded.to(device).eval(), tokenizer, length, (kv, base), salt, int8)

    def count(self, text: str) -> int:
        """See `LLM.count`."""
        return len(self._encode(text))

    def clip(self, text: str, tokens: int) -> str:
        """See `LLM.clip`."""
        ids = self._encode(text)
        return text if len(ids) <= tokens else str(self._tokenizer.decode(ids[:tokens]))

    def _encode(self, text: str) -> list[int]:
        # Text is never read as a special token: a document cannot end the turn it stands in.
        found: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return found

    def tokens(self, prompt: Prompt) -> list[int]:
        """The prompt's token ids in the model's chat template."""
        prefix, chunks, suffix = self.parts(prompt)
        return [*prefix, *(one for chunk in chunks for one in chunk), *suffix]

    def parts(self, prompt: Prompt) -> Parts:
        """The prompt's token ids before the chunks, of each chunk, and behind them.

        Each piece of text is tokenised by itself, so that its tokens depend on no neighbour.
        """
        roles = pieces_of(prompt)
        pieces = [piece for _, texts in roles for piece in texts]
        # Each piece's place is marked, so that the template's own special tokens are read as such
        # and those that a text only spells out are not.
        marked, number = [], 0
        for role, texts in roles:
            marks = [f"{_CUT}{number + n}{_CUT}" for n in range(len(texts))]
            marked.append({"role": role, "content": "".join(marks)})
            number += len(texts)
        rendered = self._tokenizer.apply_chat_template(
            marked, tokenize=False, add_generation_prompt=True
        )
        first = len(pieces) - 1 - len(prompt.chunks)
        prefix: list[int] = []
        chunks: list[list[int]] = []
        suffix: list[int] = []
        place = prefix
        for at, piece in enumerate(rendered.split(_CUT)):
            if at % 2 == 0:
                if piece:
                    place += self._tokenizer(piece, add_special_tokens=False)["input_ids"]
            elif prompt.chunks and first <= int(piece) < len(pieces) - 1:
                chunks.append(self._encode(pieces[int(piece)]))
                place = suffix
            else:
                place += self._encode(pieces[int(piece)])
        return prefix, chunks, suffix

    @property
    def engine(self) -> KVEngine:
        """What composes prompts from stored states; made when it is first asked for.

        Raises:
            ModelError: Not even plain prefill of this model is understood.
        """
        with self._lock:
            if self._engine is None:
                from rag.kvcache import calibrate
                from rag.kvcache.engine import KVEngine
                from rag.kvcache.keys import Keys
                from rag.kvcache.model import ModelView
                from rag.kvcache.store import open_store

                view = ModelView(self._model, self.id, self._int8)
                fingerprint = view.fingerprint()
                keys = Keys(fingerprint, self._tokenizer_digest(), self._salt)
                found = calibrate.load(fingerprint)
                engine = KVEngine(view, open_store(*self._kv), keys)
                if found is not None:
                    engine.ape = (found.temperature, found.scale)
                    engine.fraction = found.fraction
                self._engine = engine
            return self._engine

    def salted(self, salt: str) -> LocalLLM:
        """A view of this model whose stored states are found under another salt.

        Weights, store and scheduler are shared, so requests of all views are decoded together.
        """
        view = copy.copy(self)
        view._salt = salt
        try:
            own = self.engine
        except ModelError:
            return view  # not even plain prefill is understood: nothing is ever stored
        view._engine = own.salted(salt)
        return view

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return frozenset(self._ends)

    def _steps(self, passes: list[Pass]) -> list[torch.Tensor]:
        return self.engine.view.steps(passes)

    def _tokenizer_digest(self) -> str:
        backend = self._tokenizer.backend_tokenizer.to_str()
        return hashlib.sha256(f"{backend}{self._tokenizer.chat_template}".encode()).hexdigest()

    def close(self) -> None:
        """Let the store finish writing."""
        if self._engine is not None:
            self._engine.store.close()
            self._engine = None

    async def stream(
        self, prompt: Prompt, sampling: Sampling, context: ContextSettings | None = None
    ) -> AsyncIterator[str | Generation]:
        """See `LLM.stream`. The model works in a thread; closing the stream stops it."""
        parts = self.fitting(prompt)

        work = self._generate(parts, sampling, context)
        said: AsyncGenerator[str | Generation] = self._scheduler.stream(work)
        async with aclosing(said) as pieces:
            async for piece in pieces:
                yield piece

    def fitting(self, prompt: Prompt, room: int = 1) -> Parts:
        """The prompt's parts; with so many tokens more they fit the window.

        Raises:
            ModelError: They do not.
        """
        parts = self.parts(prompt)
        tokens = length(parts)
        if tokens + room > self.window:
            raise ModelError(
                f"the prompt has {tokens} tokens, the window of {self.id!r} is {self.window}",
                fix="pack fewer documents, or use a model with a larger window",
            )
        return parts

    def _generate(
        self,
        parts: Parts,
        sampling: Sampling,
        context: ContextSettings | None,
        grammar: Grammar | None = None,
    ) -> Saying:
        limit = min(sampling.max_tokens, self.window - length(parts))
        chosen = Chosen(sampling, self._model.device, grammar)
        tokens, report = self._answer(parts, chosen, context, limit)
        yield from self._said(tokens, chosen, length(parts), report)

    def _said(
        self,
        tokens: Tokens,
        chosen: Chosen,
        prompt_tokens: int,
        report: dict[str, Any] | None,
    ) -> Saying:
        """The text of the tokens as they come, and the result."""
        sampling = chosen.sampling
        text = Text(self._tokenizer, sampling.stop)
        told = Text(self._tokenizer, ()) if sampling.logprobs else None
        pieces: list[str] = []
        finish: Literal["stop", "length"] = "length"
        logits: torch.Tensor | None = None
        while (token := _next(tokens, logits)) is not None:
            logits = None
            if isinstance(token, Pass):
                logits = yield token
                continue
            if token in self._ends:
                finish = "stop"
                break
            if told is not None:
                pieces.append(told.add(token)[0])
            piece, ended = text.add(token)
            if piece:
                yield piece
            if ended:
                finish = "stop"
                break
        rest = text.rest()
        if rest:
            yield rest
        logprobs = None
        if told is not None:
            pieces[-1:] = [pieces[-1] + told.rest()] if pieces else []
            # The token that ends the answer has a likelihood too, and no text.
            logprobs = tuple(zip(cut(pieces, text.said), chosen.logprobs, strict=False))
        yield Generation(text.said, prompt_tokens, text.tokens, finish, report, logprobs)

    def _answer(
        self,
        parts: Parts,
        chosen: Chosen,
        context: ContextSettings | None,
        limit: int,
    ) -> tuple[Tokens, dict[str, Any] | None]:
        """The answer's tokens, and what is told of the prompt where its chunks are composed."""
        from rag.kvcache.decode import decoding
        from rag.kvcache.settings import ContextSettings

        engine = self._engine_or_none(context)
        if engine is None:
            ids = [*parts[0], *(one for chunk in parts[1] for one in chunk), *parts[2]]
            return self._by_transformers(ids, chosen, limit), None
        plain = context or ContextSettings(mode="full")
        done = engine.prefill(*parts, plain, room=limit)
        draft = 0 if chosen.once else DRAFT_INT8 if self._int8 else DRAFT
        quoted = [one for chunk in parts[1] for one in chunk]
        tokens = decoding(done, chosen, limit, quoted, draft)
        return tokens, done.report.as_dict() if context is not None else None

    def _engine_or_none(self, context: ContextSettings | None) -> KVEngine | None:
        """The engine; None for a model that it does not understand, where nothing is composed."""
        try:
            engine = self.engine
        except ModelError:
            if self._int8 or (context is not None and context.mode != "full"):
                raise
            return None
        if engine.view.attends or (context is not None and context.mode != "full"):
            return engine
        return None

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        """See `LLM.score`."""
        from rag.models.local import likelihood

        work = likelihood.score(self, prompt, answers)
        return [found async for found in self._scheduler.stream(work)]

    async def surprise(self, text: str, after: str = "") -> list[tuple[int, int, float]]:
        """See `LLM.surprise`."""
        from rag.models.local import likelihood

        work = likelihood.surprise(self, text, after)
        return [found async for found in self._scheduler.stream(work)]

    async def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        """See `LLM.ensemble`; all prompts' states are held at once."""
        from rag.models.local import likelihood

        counted = likelihood.normalised(prompts, weights)
        parts = [self.fitting(prompt) for prompt, _ in counted]
        limit = min(sampling.max_tokens, *(self.window - length(one) for one in parts))

        chosen = Chosen(sampling, self._model.device)
        tokens = likelihood.mixed(self, parts, [w for _, w in counted], chosen, limit)
        work = self._said(tokens, chosen, sum(map(length, parts)), None)
        said: AsyncGenerator[str | Generation] = self._scheduler.stream(work)
        async with aclosing(said) as pieces:
            async for piece in pieces:
                yield piece

    async def structured(
        self, prompt: Prompt, schema: type[M], sampling: Sampling | None = None
    ) -> Filled[M]:
        """See `LLM.structured`."""
        from rag.models.structured import Grammar, described, filled, tokens_of

        sampling = sampling or Sampling()
        tokenizer = await asyncio.to_thread(
            tokens_of, self._tokenizer, int(self._model.config.vocab_size), min(self._ends)
        )
        if tokenizer is None:
            return await super().structured(prompt, schema, sampling)
        parts = self.fitting(described(prompt, schema))
        grammar = Grammar(tokenizer, schema.model_json_schema())

        work = self._generate(parts, sampling, None, grammar)
        done = [piece async for piece in self._scheduler.stream(work)][-1]
        if not isinstance(done, Generation):
            raise RuntimeError(f"{self.id} ended its answer without a result")
        return filled(done, schema)

    def spans(self, text: str) -> tuple[list[tuple[int, int]], list[int]]:
        """First and end of each token in characters, and the tokens."""
        found = self._tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        return [(int(a), int(b)) for a, b in found["offset_mapping"]], list(found["input_ids"])

    @property
    def begin(self) -> int:
        """The token that texts begin with, or where there is none, the one between texts."""
        first = self._tokenizer.bos_token_id
        return int(self._tokenizer.eos_token_id if first is None else first)

    def _by_transformers(
        self, ids: list[int], next_token: Callable[[torch.Tensor], int], limit: int
    ) -> Tokens:
        import torch
        from transformers import DynamicCache

        device = self._model.device
        cache = {cache_name(self._model): DynamicCache(config=self._model.config)}
        given = torch.tensor([ids], device=device)
        for _ in range(limit):
            logits = self._model(given, use_cache=True, logits_to_keep=1, **cache).logits
            token = next_token(logits[0, -1])
            yield token
            given = torch.tensor([[token]], device=device)


def _next(tokens: Tokens, logits: torch.Tensor | None) -> int | Pass | None:
    try:
        return tokens.send(logits)
    except StopIteration:
        return None


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(name: str, device: str) -> Any:
    import torch

    if name != "auto":
        found = getattr(torch, name, None)
        if not isinstance(found, torch.dtype):
            fix = "known: auto, float32, bfloat16, float16"
            raise ConfigError(f"{name!r} is no number format", where="resources.llm.dtype", fix=fix)
        return found
    if device == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16
