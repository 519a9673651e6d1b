"""LangChain's chat models and embeddings in the place of the local ones."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rag.errors import ConfigError, ModelError
from rag.models.base import LLM, Embedder, Generation, Prompt, Sampling
from rag.prompts.layout import messages

if TYPE_CHECKING:
    import numpy as np
    from langchain_core.embeddings import Embeddings

    from rag.kvcache.settings import ContextSettings

TRUSTED = "langchain_"
"""Pipeline files may import classes from LangChain's own packages, and from no others."""
CHARACTERS_PER_TOKEN = 4
LIMITS = (
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "num_predict",
)
"""What chat models call the number of tokens that they may write."""


def make(spec: Mapping[str, Any], base: Literal["BaseChatModel", "Embeddings"]) -> Any:
    """The object that `{use: package.Class, ...arguments}` describes.

    Raises:
        ConfigError: The class may not be imported, does not exist, is not a `base`, or does not
            take the arguments.
    """
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel

    dotted = str(spec["use"])
    kind = imported(dotted)
    wanted = BaseChatModel if base == "BaseChatModel" else Embeddings
    if not (isinstance(kind, type) and issubclass(kind, wanted)):
        raise ConfigError(f"{dotted!r} is not a {base}", where="use", fix="name a class that is")
    return called(kind, dotted, {key: value for key, value in spec.items() if key != "use"})


def imported(dotted: str) -> Any:
    """A class of LangChain's packages, or a method of one: `package.Class.method`.

    Raises:
        ConfigError: It is in no package of LangChain, or cannot be imported.
    """
    module, _, name = dotted.replace(":", ".").rpartition(".")
    owner, _, last = module.rpartition(".")
    method = name if last[:1].isupper() else None
    if method is not None:
        module, name = owner, last
    if not module.startswith(TRUSTED) or (method or "").startswith("_"):
        raise ConfigError(
            f"{dotted!r} is not in a package of LangChain", where="use",
            fix="pipeline files import from langchain_* packages only; pass others open, in Python",
        )  # fmt: skip
    try:
        kind = getattr(importlib.import_module(module), name)
        return getattr(kind, method) if method else kind
    except (ImportError, AttributeError) as error:
        package = module.split(".")[0].replace("_", "-")
        raise ConfigError(
            f"{dotted!r} cannot be imported: {error}", where="use", fix=f"pip install {package}"
        ) from error


def called(maker: Any, dotted: str, arguments: Mapping[str, Any]) -> Any:
    """What a class, or its method, makes of the arguments.

    Raises:
        ConfigError: It does not take them.
    """
    try:
        return maker(**arguments)
    except Exception as error:  # each package has its own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{dotted} does not take these arguments: {reason}", where="use"
        ) from error


def as_embeddings(embedder: Embedder) -> Embeddings:
    """An embedder as LangChain's vector stores want it; one of LangChain's own as it came."""
    from langchain_core.embeddings import Embeddings

    if isinstance(embedder, LangChainEmbedder):
        return embedder.model

    class Adapted(Embeddings):
        """Vectors as lists."""

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[float(x) for x in vector] for vector in embedder.embed(texts)]

        def embed_query(self, text: str) -> list[float]:
            return [float(x) for x in embedder.embed_query(text)]

    return Adapted()


class LangChainLLM(LLM):
    """A LangChain chat model.

    Args:
        model: Any `BaseChatModel`.
        window: Tokens for prompt and answer, where the model's profile does not tell.
    """

    def __init__(self, model: Any, window: int = 8192) -> None:
        self._model = model
        profile = getattr(model, "profile", None) or {}
        self.id = str(
            getattr(model, "model_name", None) or getattr(model, "model", type(model).__name__)
        )
        self.window = int(profile.get("max_input_tokens", window))

    def count(self, text: str) -> int:
        """An estimate: asking would cost a request, or a tokenizer that is not the model's."""
        return -(-len(text) // CHARACTERS_PER_TOKEN)

    def clip(self, text: str, tokens: int) -> str:
        """See `LLM.clip`; as rough as `count`."""
        return text[: tokens * CHARACTERS_PER_TOKEN]

    async def stream(
        self, prompt: Prompt, sampling: Sampling, context: ContextSettings | None = None
    ) -> AsyncIterator[str | Generation]:
        """See `LLM.stream`; settings that a model does not know are left out.

        A model that knows no limit is stopped at `max_tokens`, as near as `count` tells.

        Raises:
            ConfigError: `context` is asked for: a remote model's states cannot be reached.
        """
        if context is not None and context.mode != "full":
            raise ConfigError(
                f"{self.id} runs elsewhere: its states cannot be reused",
                where="context",
                fix="take context: out of the step, or use a local model",
            )
        said = ""
        used: Mapping[str, Any] = {}
        known = set(type(self._model).model_fields)
        limit = next((name for name in LIMITS if name in known), None)
        options: dict[str, Any] = {"temperature": sampling.temperature}
        if limit is not None:
            options[limit] = sampling.max_tokens
        if sampling.seed is not None:
            options["seed"] = sampling.seed
        if sampling.stop:
            options["stop"] = list(sampling.stop)
        options = {k: v for k, v in options.items() if k == "stop" or k in known}
        finish = "stop"
        try:
            async with aclosing(self._model.astream(messages(prompt), **options)) as chunks:
                async for chunk in chunks:
                    text = str(chunk.text)
                    used = chunk.usage_metadata or used
                    finish = chunk.response_metadata.get("finish_reason") or finish
                    if limit is None and self.count(said + text) > sampling.max_tokens:
                        text = self.clip(said + text, sampling.max_tokens)[len(said) :]
                        finish = "length"
                    if text:
                        said += text
                        yield text
                    if limit is None and finish == "length":
                        break
        except Exception as error:  # each provider's client has its own
            raise _unreachable(f"the model {self.id!r} gave no answer", "llm", error) from error
        yield Generation(
            said,
            int(used.get("input_tokens", 0)) or sum(self.count(t) for _, t in messages(prompt)),
            int(used.get("output_tokens", 0)) or self.count(said),
            "length" if finish == "length" else "stop",
        )


class LangChainEmbedder(Embedder):
    """LangChain embeddings; their vectors are brought to unit length.

    Args:
        model: Any `Embeddings`.
    """

    late: ClassVar[bool] = False

    def __init__(self, model: Embeddings) -> None:
        self.model = model
        name = getattr(model, "model", None) or getattr(model, "model_name", None)
        self.id = f"{type(model).__name__}:{name}" if name else type(model).__name__
        self.window = 8192
        self.dim = int(self.embed_query("dimension").shape[0])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.embed`; raises ModelError when the service cannot be reached."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return _unit(self._ask("embed_documents", list(texts)))

    def embed_query(self, text: str) -> np.ndarray:
        """See `Embedder.embed_query`."""
        vector: np.ndarray = _unit([self._ask("embed_query", text)])[0]
        return vector

    def _ask(self, method: str, given: Any) -> Any:
        try:
            return getattr(self.model, method)(given)
        except Exception as error:  # each provider's client has its own
            what = f"the embedder {self.id!r} gave no vectors"
            raise _unreachable(what, "embedder", error) from error

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        """See `Embedder.token_vectors`; LangChain's interface has none."""
        raise ModelError(
            f"the embedder {self.id!r} gives no token vectors, which late interaction needs",
            fix="use a local embedder, or another retriever in the place of max_sim",
        )

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Estimates: the interface does not tell."""
        return [-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]


def _unit(vectors: Any) -> np.ndarray:
    import numpy as np

    array = np.asarray(vectors, dtype=np.float32)
    unit: np.ndarray = array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)
    return unit


def _unreachable(what: str, resource: str, error: Exception) -> ModelError:
    """The error for a service that did not do what it was asked."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ModelError(
        f"{what}: {reason}",
        where=f"resources.{resource}",
        fix="check its address, key and network",
    )
