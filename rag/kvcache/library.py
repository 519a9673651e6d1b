"""A causal language model of transformers whose attention follows plans."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from transformers import Cache

from rag.errors import ModelError
from rag.kvcache import attention
from rag.kvcache.capture import KeyCapture
from rag.kvcache.fingerprint import fingerprint
from rag.kvcache.geometry import Geometry
from rag.kvcache.model import ModelView
from rag.kvcache.passes import Pass
from rag.kvcache.regimes import LibraryRotation

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.native.decoder import Decoder


class LibraryView(ModelView):
    """A causal language model with attention by plans installed.

    Made by `opening.open_view`, which measures what the attributes below say of it.

    Attributes:
        model: The model.
        native: The same model written out, which makes all passes instead; None: it is of
            another family.

    Args:
        model: A causal language model.
        id: Its name.

    Raises:
        ModelError: The model's layers cannot be found.
    """

    def __init__(self, model: Any, id: str) -> None:  # noqa: A002
        self.model, self.id, self.architecture = model, id, type(model).__name__
        self.lock = threading.RLock()
        self.native: Decoder | None = None
        self._cache = attention.cache_name(model)
        self.config = model.config.get_text_config()
        self.decoder = _decoder(model)
        self.attentions = [layer.self_attn for layer in self.decoder.layers]
        layers = len(self.attentions)
        types = getattr(self.config, "layer_types", None) or [None] * layers
        self.layer_types: list[str | None] = list(types)
        rotary = getattr(self.decoder, "rotary_emb", None)
        self.rotation = LibraryRotation(rotary, self.config, self.layer_types)
        self.geometry = self._geometry()
        own = self.config._attn_implementation
        # A configuration shared with a model that was opened before has our name already.
        self._original = "sdpa" if own == attention.NAME else own
        heads, kv_heads = self.geometry.heads, self.geometry.kv_heads
        self.capture = KeyCapture(self.attentions, heads, kv_heads, self.geometry.head_dim)
        attention.install(model)

    def _geometry(self) -> Geometry:
        config = self.config
        heads = config.num_attention_heads
        weight = self.decoder.embed_tokens.weight
        return Geometry(
            layers=len(self.attentions),
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            windows=tuple(self._window(kind) for kind in self.layer_types),
            rotation=self.rotation,
            dtype=weight.dtype,
            device=weight.device,
        )

    def _window(self, kind: str | None) -> int | None:
        window = getattr(self.config, "sliding_window", None)
        if not window or getattr(self.config, "use_sliding_window", True) is False:
            return None
        return int(window) if kind in (None, "sliding_attention") else None

    def fingerprint(self) -> str:
        """See `ModelView.fingerprint`."""
        return fingerprint(self.model, self.config)

    def by_library(self, one: Pass) -> torch.Tensor:
        """Make a pass through transformers' own layers; returns as `forward`."""
        import torch

        logits = torch.empty(0, self.config.vocab_size, device=self.device)
        with self.lock, ExitStack() as context:
            masks = one.buffer.prepare(one.positions, one.rewrite)
            if one.unrotated is not None:
                context.enter_context(self.capture.capturing(one.unrotated))
            context.enter_context(self.rotation.applied(one.buffer.regime))
            context.enter_context(attention.following(one.plan, masks, one.stop))
            with suppress(attention.LayerReached):
                logits = self.model(
                    one.ids[None].to(self.device),
                    position_ids=one.positions[None].to(self.device),
                    use_cache=True,
                    logits_to_keep=1 if one.logits == "last" else 0,
                    **{self._cache: BufferCache(one.buffer)},
                ).logits[0]
        return logits

    def steps(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """See `ModelView.steps`."""
        with self.lock:
            if self.native is not None:
                return self.native(passes)
            return [self.by_library(one) for one in passes]

    def original_logits(self, ids: torch.Tensor) -> torch.Tensor:
        """The last token's logits as transformers computes them, with the original attention.

        Args:
            ids: A whole prompt: [tokens].

        Returns:
            [vocabulary].
        """
        import torch

        self.restore()
        try:
            with torch.inference_mode():
                logits: torch.Tensor = self.model(
                    ids[None].to(self.device), use_cache=False
                ).logits[0, -1]
                return logits
        finally:
            if self.attends:
                attention.install(self.model)

    def restore(self) -> None:
        """Give the model its original attention back."""
        self.model.set_attn_implementation(self._original)


class BufferCache(Cache):  # type: ignore[misc]  # transformers is not typed
    """A buffer as the cache that layers of transformers write into and read from.

    Args:
        buffer: Prepared for the pass.
    """

    def __init__(self, buffer: KVBuffer) -> None:
        self.buffer = buffer
        self.layers: list[Any] = []
        self._offloading = False

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `KVBuffer.update`."""
        return self.buffer.update(key_states, value_states, layer_idx)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots in use."""
        return self.buffer.length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Slots that a mask would be made for, and the first of them; plans make their own."""
        return self.buffer.length, 0


def _decoder(model: Any) -> Any:
    for found in (getattr(model, "model", None), getattr(model, "transformer", None)):
        inner = getattr(found, "language_model", found)
        layers = getattr(inner, "layers", None)
        if layers is not None and len(layers) and hasattr(layers[0], "self_attn"):
            return inner
    raise ModelError(
        f"the layers of {type(model).__name__} cannot be found",
        fix="use a decoder-only model with self-attention layers",
    )
