"""LangChain's chat models and embeddings behind our protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from rag.errors import ModelError
from rag.models.embedder import Embedder
from rag.models.llm import LLM, Generation, Sampling
from rag.prompts.layout import messages
from rag.prompts.prompt import Prompt

if TYPE_CHECKING:
    import numpy as np
    from langchain_core.embeddings import Embeddings

    from rag.kvcache.settings import ReuseSettings

CHARACTERS_PER_TOKEN = 4
LIMITS = (
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "num_predict",
)
"""Names of the field of a chat model that limits the answer's tokens."""


class LangChainLLM(LLM):
    """A LangChain chat model.

    Args:
        model: Any `BaseChatModel`.
        window: Tokens for prompt and answer, where the model's profile does not say.
    """

    def __init__(self, model: Any, window: int = 8192) -> None:
        self._model = model
        profile = getattr(model, "profile", None) or {}
        self.id = str(
            getattr(model, "model_name", None) or getattr(model, "model", type(model).__name__)
        )
        self.window = int(profile.get("max_input_tokens", window))

    def count(self, text: str) -> int:
        """An estimate: an exact count would cost a request."""
        return -(-len(text) // CHARACTERS_PER_TOKEN)

    def clip(self, text: str, tokens: int) -> str:
        """See `LLM.clip`; by the estimate of `count`."""
        return text[: tokens * CHARACTERS_PER_TOKEN]

    async def stream(
        self, prompt: Prompt, sampling: Sampling, reuse: ReuseSettings | None = None
    ) -> AsyncIterator[str | Generation]:
        """See `LLM.stream`; settings that the model has no field for are left out.

        A model without a limit on the answer is stopped at `max_tokens`, as `count` estimates.

        Raises:
            ModelError: The model cannot be reached or refuses the request, or `reuse` asks to
                reuse states, which a remote model does not give access to.
        """
        if reuse is not None and reuse.mode != "full":
            raise ModelError(
                f"{self.id!r} is a remote model: the states of chunks cannot be reused",
                where="reuse",
                fix="remove `reuse` from the step, or use a local model",
            )
        known = set(type(self._model).model_fields)
        limit = next((name for name in LIMITS if name in known), None)
        options = _options(sampling, limit, known)
        text = ""
        usage: Mapping[str, Any] = {}
        finish = "stop"
        try:
            async with aclosing(self._model.astream(messages(prompt), **options)) as chunks:
                async for chunk in chunks:
                    piece = str(chunk.text)
                    usage = chunk.usage_metadata or usage
                    finish = chunk.response_metadata.get("finish_reason") or finish
                    if limit is None and self.count(text + piece) > sampling.max_tokens:
                        piece = self.clip(text + piece, sampling.max_tokens)[len(text) :]
                        finish = "length"
                    if piece:
                        text += piece
                        yield piece
                    if limit is None and finish == "length":
                        break
        except Exception as error:  # each provider's client has its own
            raise _unreachable(f"the model {self.id!r} gave no answer", "llm", error) from error
        yield Generation(
            text,
            int(usage.get("input_tokens", 0)) or sum(self.count(t) for _, t in messages(prompt)),
            int(usage.get("output_tokens", 0)) or self.count(text),
            "length" if finish == "length" else "stop",
        )


def _options(sampling: Sampling, limit: str | None, known: set[str]) -> dict[str, Any]:
    """The arguments of a call.

    Args:
        sampling: How tokens are sampled.
        limit: The model's name for `max_tokens`.
        known: The model's fields.
    """
    options: dict[str, Any] = {"temperature": sampling.temperature}
    if limit is not None:
        options[limit] = sampling.max_tokens
    if sampling.seed is not None:
        options["seed"] = sampling.seed
    options = {name: value for name, value in options.items() if name in known}
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    return options


class LangChainEmbedder(Embedder):
    """LangChain embeddings; their vectors are normalised to unit length.

    Args:
        model: Any `Embeddings`.

    Raises:
        ModelError: The service cannot be reached.
    """

    late: ClassVar[bool] = False

    def __init__(self, model: Embeddings) -> None:
        self.model = model
        name = getattr(model, "model", None) or getattr(model, "model_name", None)
        self.id = f"{type(model).__name__}:{name}" if name else type(model).__name__
        self.window = 8192
        self.dim = int(self.embed_query("dimension").shape[0])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.embed`."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return _unit(self._call("embed_documents", list(texts)))

    def embed_query(self, text: str) -> np.ndarray:
        """See `Embedder.embed_query`."""
        vector: np.ndarray = _unit([self._call("embed_query", text)])[0]
        return vector

    def _call(self, method: str, argument: Any) -> Any:
        try:
            return getattr(self.model, method)(argument)
        except Exception as error:  # each provider's client has its own
            what = f"the embedder {self.id!r} gave no vectors"
            raise _unreachable(what, "embedder", error) from error

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """See `Embedder.token_vectors`; LangChain's interface has none."""
        raise ModelError(
            f"the embedder {self.id!r} has no token vectors, which late interaction needs",
            fix="use a local embedder, or another retriever instead of max_sim",
        )

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Estimates: LangChain's interface counts no tokens."""
        return [-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]


def _unit(vectors: Any) -> np.ndarray:
    import numpy as np

    array = np.asarray(vectors, dtype=np.float32)
    unit: np.ndarray = array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)
    return unit


def _unreachable(what: str, resource: str, error: Exception) -> ModelError:
    """The error for a service that did not do what was requested."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ModelError(
        f"{what}: {reason}",
        where=f"resources.{resource}",
        fix="check its address, key and network",
    )
