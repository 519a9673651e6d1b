"""The protocol of a language model, and the values that go in and out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from rag.errors import ModelError
from rag.flow.resources import Use
from rag.kvcache.store.spec import Size, StoreSpec, parse
from rag.models.profiles import Profile
from rag.models.resource import ModelResource, ModelSpec
from rag.models.tool_calls import Action, ToolDescription, ToolTurn
from rag.prompts.digest import digest
from rag.prompts.prompt import Prompt
from rag.prompts.templates import PromptTemplate

if TYPE_CHECKING:
    from rag.kvcache.settings import ReuseSettings

DEFAULT_LLM = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled; what is None is left to the model."""

    max_tokens: int = 256
    """Of the text; a model that reasons has `Profile.reasoning` tokens more."""
    temperature: float | None = None
    """0: greedy decoding, which is a local model's own."""
    top_p: float | None = None
    seed: int | None = None
    """Makes sampling repeatable."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it."""
    logprobs: bool = False
    """Whether the `Generation` has the log-probability of each token."""
    alternatives: int = 0
    """Of how many of the most likely tokens at each place, where the model gives any; with
    `logprobs`."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished answer: its whole text, the tokens counted, and why it ended."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: Literal["stop", "length"]
    reuse: dict[str, Any] | None = None
    """What of the prompt was reused and computed (`rag.kvcache.report.Report`)."""
    logprobs: tuple[tuple[str, float], ...] | None = None
    """The text in pieces with the natural log-probability of each token, if `Sampling.logprobs`
    asked for them; None where the model does not return any."""
    reasoning: str = ""
    """What the model wrote, or its provider shows, of its reasoning; never part of `text`."""
    alternatives: tuple[Mapping[str, float], ...] | None = None
    """For each token the log-probabilities of the most likely ones in its place."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely an answer is: the natural log-probability of each of its tokens."""

    logprobs: tuple[float, ...]
    prompt_tokens: int
    """Of the prompt before it, which all answers share."""

    @property
    def total(self) -> float:
        """Log-probability of the whole answer, in nats."""
        return sum(self.logprobs)

    @property
    def mean(self) -> float:
        """Log-probability per token, in nats."""
        return self.total / len(self.logprobs)


def _store(spec: Any) -> StoreSpec | None:
    return None if spec is None else parse(spec)


class LLMSpec(ModelSpec):
    """A local model and the settings of the engine that runs it."""

    model: str = Field(description="a local folder, a GGUF file, an installed package or a hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="number format; auto: bfloat16 where the processor computes in it",
    )
    window: PositiveInt | None = Field(
        default=None, description="tokens for prompt and answer; none: the model's own limit"
    )
    threads: PositiveInt | None = Field(
        default=None, description="processor threads; none: torch's choice"
    )
    weights: Literal["full", "int8", "int4"] = Field(
        default="full",
        description="what is decoded with; int8: eight bits, a scale for each row; int4: the four "
        "bits of a GGUF file of Q4_0 or Q4_1: less memory traffic, nearly the same answers; "
        "prompts are computed in the model's number format all the same",
    )
    kv: Annotated[StoreSpec | None, BeforeValidator(_store)] = Field(
        default=None,
        description="where the states of chunks are stored: a folder, or tiers and their sizes; "
        "none: in memory only",
    )
    buffers: Size = Field(
        default=2 * 2**30,
        description="bytes of the states of all requests that are worked on; further requests "
        "wait, and one that needs more is worked on alone",
    )
    salt: str = Field(default="", description="the user's: states are never shared between salts")
    profile: Profile | None = Field(
        default=None, description="what is set otherwise than the model's size says"
    )


class HostedSpec(Use):
    """A chat model of LangChain's."""

    profile: Profile | None = Field(
        default=None, description="what is set otherwise than the model's name says"
    )


class Profiled(ModelResource):
    """What a language model is and can do, for a step that does not ask it anything.

    The model's weights are not read for it, so a flow that does without the model opens none.
    """

    default: ClassVar[Any] = DEFAULT_LLM
    Spec = LLMSpec
    UseSpec = HostedSpec
    foreign = "langchain_core.language_models.BaseChatModel"
    opener = "rag.models.opening.profile:open_profile"

    profile: Profile = Profile()
    """What operators depend on."""
    window: int
    """Tokens that prompt and answer may have together."""

    @property
    def prompt_set(self) -> Mapping[str, PromptTemplate]:
        """Every text that the model is given, by name."""
        return self.profile.prompt_set

    def version(self) -> str:
        """The digest of all prompts: a cached answer depends on it."""
        return digest(self.prompt_set)


class LLM(Profiled):
    """A language model that writes answers."""

    opener = "rag.models.opening.llm:open_llm"

    id: str
    """The model's name."""
    supports_logprobs: bool = False
    """Whether texts that are given can be scored: `score`, `token_surprisal`, `ensemble`. Those
    of generated tokens (`Sampling.logprobs`) are `profile.logprobs`."""

    @property
    def reuses(self) -> bool:
        """Whether the states of a prompt's chunks can be kept and reused: `stream(reuse=...)`."""
        return False

    @abstractmethod
    def count(self, text: str) -> int:
        """Tokens of a text, special tokens left out."""

    @abstractmethod
    def clip(self, text: str, tokens: int) -> str:
        """The longest beginning of the text of at most `tokens` tokens."""

    @abstractmethod
    def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: ReuseSettings | None = None
    ) -> AsyncIterator[str | Generation]:
        """The answer piece by piece, and last the `Generation`. Closing it stops the model.

        Its text is without reasoning: `rag.models.reasoning.without_reasoning` takes that out.

        Args:
            prompt: In parts.
            sampling: How tokens are sampled.
            reuse: How the states of the chunks are composed; None: all are computed.

        Raises:
            ModelError: The prompt does not fit the window, the model cannot be reached, or it
                cannot reuse the states of chunks as `reuse` asks.
        """

    async def generate(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        reuse: ReuseSettings | None = None,
    ) -> Generation:
        """The whole answer at once.

        Raises:
            ModelError: As `stream`.
        """
        result: Generation | None = None
        async for piece in self.stream(prompt, sampling or Sampling(), reuse):
            if isinstance(piece, Generation):
                result = piece
        if result is None:
            raise RuntimeError(f"{self.id} ended its stream without a result")
        return result

    async def generate_json(
        self, prompt: Prompt, schema: Mapping[str, Any], sampling: Sampling
    ) -> Generation | None:
        """An answer whose every token fits a JSON schema.

        Returns:
            None where this model's tokens cannot be constrained.

        Raises:
            ModelError: As `stream`.
        """
        return None

    async def act(
        self,
        prompt: Prompt,
        turns: Sequence[ToolTurn],
        tools: Sequence[ToolDescription],
        sampling: Sampling,
        *,
        answer: bool = False,
    ) -> AsyncGenerator[str | Action]:
        """What the model does next, by its own interface for tool calls.

        `rag.models.next_action` calls it, and explains the arguments.

        Returns:
            The pieces of its text as they come, and last the `Action`; nothing at all where it
            has no such interface.

        Raises:
            ModelError: As `stream`.
        """
        nothing: tuple[Action, ...] = ()
        for piece in nothing:
            yield piece

    async def score(self, prompt: Prompt, answers: Sequence[str]) -> list[Scored]:
        """How likely each answer is after the prompt, token by token.

        Raises:
            InputError: An answer is empty.
            ModelError: The model does not return log-probabilities, or prompt and answer exceed
                the window.
        """
        raise no_logprobs_error(self.id, "score")

    async def token_surprisal(self, text: str, after: str = "") -> list[tuple[int, int, float]]:
        """Each token of the text as (start, end, surprisal).

        Start and end are characters of the text; the surprisal is the negative log-probability
        of the token after those before it, in nats.

        Args:
            text: Of any length; a token is conditioned on at most half a window before it.
            after: What precedes the text.

        Raises:
            ModelError: The model does not return log-probabilities.
        """
        raise no_logprobs_error(self.id, "token_surprisal")

    def ensemble(
        self, prompts: Sequence[Prompt], weights: Sequence[float], sampling: Sampling
    ) -> AsyncIterator[str | Generation]:
        """One answer to several prompts, whose next-token distributions are mixed by weights.

        REPLUG's ensemble (Shi et al. 2023, arXiv 2301.12652, section 3.2). As `stream`.

        Args:
            prompts: One for each weight.
            weights: Not negative; normalised to a sum of 1.
            sampling: How tokens are sampled from the mixed distribution.

        Raises:
            InputError: The weights do not fit the prompts.
            ModelError: The model does not return log-probabilities, or a prompt exceeds the
                window.
        """
        raise no_logprobs_error(self.id, "ensemble")


def no_logprobs_error(model: str, method: str) -> ModelError:
    """The error for a method that needs log-probabilities, of a model that returns none."""
    return ModelError(
        f"the model {model!r} does not return log-probabilities, which `{method}` needs",
        where="resources.llm",
        fix="use a local model for this step",
    )
