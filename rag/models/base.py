"""What operators know of models. Importing this loads none of the model libraries."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel

from rag.errors import ConfigError, ModelError
from rag.flow.resources import Resource

if TYPE_CHECKING:
    import numpy as np

    from rag.kvcache.settings import ContextSettings
    from rag.models.choice import Choice, Scored
    from rag.models.structured import Filled

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in parts, so that an engine may reuse what it knows of a part.

    The chunks stand between the system text and the question; nothing in them may depend on
    their order.
    """

    question: str
    system: str = ""
    chunks: tuple[str, ...] = ()
    history: tuple[tuple[Literal["user", "assistant"], str], ...] = ()
    """Earlier turns, older first."""
    numbered: bool = True
    """Whether the chunks are numbered from 1; a prompt whose chunks are reused has none."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. Temperature 0 takes the likeliest; `seed` makes others repeatable."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    """Whether the `Generation` tells how likely each token was."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished answer: its whole text, tokens counted, and why it ended."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: Literal["stop", "length"]
    context: dict[str, Any] | None = None
    """What of the prompt was reused and computed (`rag.kvcache.report.Report`)."""
    logprobs: tuple[tuple[str, float], ...] | None = None
    """The text in pieces, with the natural log probability of each token, where asked for; None
    where the model tells none."""


DEFAULT_LLM = "smollm2-135m-instruct"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"


class LLM(Resource):
    """A language model that writes answers."""

    default: ClassVar[Any] = DEFAULT_LLM

    id: str
    window: int
    """Tokens that prompt and answer may have together."""
    scores: ClassVar[bool] = False
    """Whether likelihoods can be had: `score`, `surprise`, `ensemble`, `Sampling.logprobs`."""

    def version(self) -> str:
        """What models are told: a kept result depends on it."""
        from rag.prompts.templates import digest

        return digest()

    @abstractmethod
    def count(self, text: str) -> int:
        """Tokens of a text, special tokens left out."""

    @abstractmethod
    def clip(self, text: str, tokens: int) -> str:
        """The longest beginning of the text of at most `tokens` tokens."""

    @abstractmethod
    def stream(
        self, prompt: Prompt, sampling: Sampling, context: ContextSettings | None = None
    ) -> AsyncIterator[str | Generation]:
        """The answer, piece by piece, and last the `Generation`. Closing it stops the model.

        Args:
            prompt: In parts.
            sampling: How tokens are chosen.
            context: How the states of the chunks are composed; None: all are computed.

        Raises:
            ModelError: The prompt does not fit the window, the model cannot be reached, or it
                cannot reuse chunks.
        """

    async def generate(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        context: ContextSettings | None = None,
    ) -> Generation:
        """The whole answer at once; raises as `stream` does."""
        found: Generation | None = None
        async for piece in self.stream(prompt, sampling or Sampling(), context):
            if isinstance(piece, Generation):
                found = piece
        if found is None:
            raise RuntimeError(f"{self.id} ended its stream without a result")
        return found

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        """How likely each answer is after the prompt, token by token.

        Raises:
            InputError: An answer is empty.
            ModelError: The model tells no likelihoods, or prompt and answer exceed the window.
        """
        raise self._tells_nothing("score")

    async def surprise(self, text: str, after: str = "") -> list[tuple[int, int, float]]:
        """Each token of the text: first character, end, and its surprise in nats.

        Args:
            text: Of any length; tokens further back than half the window are out of sight.
            after: What stands before the text and is known.

        Raises:
            ModelError: The model tells no likelihoods.
        """
        raise self._tells_nothing("surprise")

    def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        """One answer to several prompts, whose next-token distributions are mixed by weights.

        REPLUG's ensemble (Shi et al. 2023, arXiv 2301.12652, section 3.2). As `stream`.

        Args:
            prompts: In their order of `weights`.
            weights: From 0; brought to a sum of 1.
            sampling: How tokens are chosen from the mixed distribution.

        Raises:
            InputError: The weights do not fit the prompts.
            ModelError: The model tells no likelihoods, or a prompt exceeds the window.
        """
        raise self._tells_nothing("ensemble")

    def _tells_nothing(self, method: str) -> ModelError:
        return ModelError(
            f"the model {self.id!r} tells no likelihoods, which `{method}` needs",
            where="resources.llm",
            fix="use a local model for this step",
        )

    async def choose(
        self,
        prompt: Prompt,
        options: Sequence[str],
        *,
        default: str | None = None,
    ) -> Choice:
        """One of the options, as the answer to the prompt.

        With likelihoods nothing is generated: the options' mean log probabilities per token go
        through a softmax. The mean, since the total would prefer whatever has fewest tokens.
        Without them the options are listed, and the answer is read tolerantly.

        Args:
            prompt: The question.
            options: The allowed answers; different ones.
            default: What is chosen where nothing tells the options apart; the first if not given.

        Raises:
            InputError: The options are none, empty or alike.
            ModelError: As `stream`.
        """
        from rag.models.choice import choose

        return await choose(self, prompt, options, default=default)

    async def structured(
        self, prompt: Prompt, schema: type[M], sampling: Sampling | None = None
    ) -> Filled[M]:
        """The answer as an object of a pydantic model.

        The local engine constrains the tokens by the schema where the extra `structured` is
        installed. Otherwise the first object in the answer is read, small mistakes are mended,
        and the model is told once what was wrong.

        Returns:
            Its `value` is None where there was no such object in the end: the answer was cut
            off by `max_tokens`, empty, or something else.

        Raises:
            ModelError: As `stream`.
        """
        from rag.models.structured import ask

        return await ask(self, prompt, schema, sampling or Sampling())

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> LLM:
        """Open a model.

        Args:
            spec: A hub id, a local folder, a GGUF file or the name of an installed package; or a
                mapping with `model` and settings of the local engine; or `use` with the class
                of a LangChain chat model and its arguments; or such a chat model itself.
            base: Where relative paths start from.

        Raises:
            ModelError: There is no such model.
            ConfigError: The specification is wrong.
        """
        from rag.models.langchain import LangChainLLM, make
        from rag.models.local.model import LocalLLM

        if isinstance(spec, str):
            return LocalLLM.open(spec, base)
        if isinstance(spec, Mapping) and "use" in spec:
            return LangChainLLM(make(spec, "BaseChatModel"))
        if isinstance(spec, Mapping):
            return LocalLLM.open(
                **settings(spec, ("model", "dtype", "window", "threads", "int8", "kv", "salt")),
                base=base,
            )
        if hasattr(spec, "astream"):
            return LangChainLLM(spec)
        raise ConfigError(f"{spec!r} is no language model", where="resources.llm")


class Embedder(Resource):
    """A model that maps texts to vectors of unit length."""

    default: ClassVar[Any] = DEFAULT_EMBEDDER

    id: str
    """Tells this embedder from any other, wherever it is installed."""
    dim: int
    window: int
    """Tokens of a text that are looked at."""
    late: ClassVar[bool] = True
    """Whether `token_vectors` can be had, for late interaction."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The texts' vectors: float32 [texts, dim], unit length."""

    @abstractmethod
    def embed_query(self, text: str) -> np.ndarray:
        """A query's vector: float32 [dim], unit length."""

    @abstractmethod
    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """For each text the vectors of its tokens: float32 [tokens, dim], unit length.

        Raises:
            ModelError: The model gives none.
        """

    @abstractmethod
    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> Embedder:
        """Open an embedder: specified as for `LLM.load`, LangChain `Embeddings` included."""
        from rag.models.langchain import LangChainEmbedder, make
        from rag.models.local.encoders import LocalEmbedder

        if isinstance(spec, str):
            return LocalEmbedder.open(spec, base)
        if isinstance(spec, Mapping) and "use" in spec:
            return LangChainEmbedder(make(spec, "Embeddings"))
        if isinstance(spec, Mapping):
            return LocalEmbedder.open(**settings(spec, ("model", "batch_size")), base=base)
        if hasattr(spec, "embed_documents"):
            return LangChainEmbedder(spec)
        raise ConfigError(f"{spec!r} is no embedder", where="resources.embedder")


class CrossEncoder(Resource):
    """A model that scores a query and a document together."""

    @abstractmethod
    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query; higher is better."""

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> CrossEncoder:
        """Open a cross-encoder: a hub id, a local folder or an installed package."""
        from rag.models.local.encoders import LocalCrossEncoder

        if isinstance(spec, str):
            return LocalCrossEncoder.open(spec, base)
        raise ConfigError(f"{spec!r} is no cross-encoder", where="resources.reranker")


class NLI(Resource):
    """A model of natural language inference: whether one text entails another."""

    @abstractmethod
    def entails(self, premises: Sequence[str], hypothesis: str) -> list[float]:
        """The probability, 0 to 1, that each premise entails the hypothesis."""

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> NLI:
        """Open such a model: a hub id, a local folder or an installed package.

        Raises:
            ModelError: There is no such model, or none of its labels is `entailment`.
        """
        from rag.models.local.encoders import LocalNLI

        if isinstance(spec, str):
            return LocalNLI.open(spec, base)
        raise ConfigError(f"{spec!r} is no model of inference", where="resources.nli")


class SparseEncoder(Resource):
    """A model that weights the words of its vocabulary for a text (SPLADE and its like)."""

    id: str
    """Tells this encoder from any other, wherever it is installed."""
    dim: int
    """Words of the vocabulary."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each text the words that have a weight, int32 [n] rising, and float32 [n]."""

    @abstractmethod
    def encode_query(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """As `encode`, for a query."""

    @classmethod
    def load(cls, spec: Any, *, base: Path) -> SparseEncoder:
        """Open a sparse encoder: a hub id, a local folder or an installed package."""
        from rag.models.local.encoders import LocalSparseEncoder

        if isinstance(spec, str):
            return LocalSparseEncoder.open(spec, base)
        raise ConfigError(f"{spec!r} is no sparse encoder", where="resources.sparse_encoder")


def settings(spec: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """The specification as keyword arguments.

    Raises:
        ConfigError: A key is unknown, or `model` is missing.
    """
    import difflib

    for wrong in spec.keys() - set(known):
        near = difflib.get_close_matches(wrong, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        fix = f"{hint}known: {', '.join(known)}; or `use` with a LangChain class"
        raise ConfigError(f"unknown key {wrong!r} in a model's specification", fix=fix)
    if "model" not in spec:
        raise ConfigError("a model's specification names no model", fix="add model: NAME")
    return dict(spec)
