"""A causal language model of transformers whose attention follows plans."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol

from rag.errors import ModelError
from rag.kvcache import attention
from rag.kvcache.capture import KeyCapture
from rag.kvcache.fingerprint import fingerprint
from rag.kvcache.geometry import Geometry
from rag.kvcache.passes import Pass
from rag.kvcache.rotation import Rotation

if TYPE_CHECKING:
    import torch


class ShortPasses(Protocol):
    """A faster way to make some passes, of several requests together."""

    def takes(self, one: Pass) -> bool:
        """Whether it can make this pass."""

    def __call__(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """As `ModelView.steps`, of passes that it takes."""


def cache_name(model: Any) -> str:
    """What the model's forward pass calls the cache: releases of transformers differ."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


class ModelView:
    """A causal language model with attention by plans installed.

    Made by `opening.open_view`, which measures what the attributes below say of it.

    Attributes:
        model: The model.
        id: Its name, for messages.
        geometry: The shape of its states.
        lock: Held during a pass: hooks belong to it.
        attends: Whether plain prefill by plan gives the model's own logits. If not, the model runs
            with its original attention.
        refusal: Why prompts of this model cannot be composed; None: they can.
        short_passes: Makes passes over few tokens, where the model is of a known family.

    Args:
        model: A causal language model.
        id: Its name.

    Raises:
        ModelError: The model's layers cannot be found.
    """

    def __init__(self, model: Any, id: str) -> None:  # noqa: A002
        self.model, self.id = model, id
        self.lock = threading.RLock()
        self.attends = True
        self.refusal: str | None = None
        self.short_passes: ShortPasses | None = None
        self._cache = cache_name(model)
        self.config = model.config.get_text_config()
        self.decoder = _decoder(model)
        self.attentions = [layer.self_attn for layer in self.decoder.layers]
        layers = len(self.attentions)
        types = getattr(self.config, "layer_types", None) or [None] * layers
        self.layer_types: list[str | None] = list(types)
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
        rotary = getattr(self.decoder, "rotary_emb", None)
        return Geometry(
            layers=len(self.attentions),
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            windows=tuple(self._window(kind) for kind in self.layer_types),
            rotation=Rotation(rotary, config, self.layer_types),
            dtype=weight.dtype,
            device=weight.device,
        )

    def _window(self, kind: str | None) -> int | None:
        window = getattr(self.config, "sliding_window", None)
        if not window or getattr(self.config, "use_sliding_window", True) is False:
            return None
        return int(window) if kind in (None, "sliding_attention") else None

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return self.geometry.layers

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.geometry.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its states."""
        return self.geometry.dtype

    def fingerprint(self) -> str:
        """A digest of all that the states depend on; see `fingerprint.fingerprint`."""
        return fingerprint(self.model, self.config)

    def forward(self, one: Pass) -> torch.Tensor:
        """Make a pass through the model itself; the tokens' states go into the buffer.

        Returns:
            Logits of the last token [1, vocabulary], or of all [tokens, vocabulary]; of a pass
            that stops in a layer: [0, vocabulary].
        """
        import torch

        logits = torch.empty(0, self.config.vocab_size, device=self.device)
        with self.lock, ExitStack() as context:
            masks = one.buffer.prepare(one.positions, one.rewrite)
            if one.unrotated is not None:
                context.enter_context(self.capture.capturing(one.unrotated))
            context.enter_context(self.geometry.rotation.applied(one.buffer.regime))
            context.enter_context(attention.following(one.plan, masks, one.stop))
            with suppress(attention.LayerReached):
                logits = self.model(
                    one.ids[None].to(self.device),
                    position_ids=one.positions[None].to(self.device),
                    use_cache=True,
                    logits_to_keep=1 if one.logits == "last" else 0,
                    **{self._cache: one.buffer},
                ).logits[0]
        return logits

    def steps(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """Make passes of several requests, together where the model is of a known family.

        Args:
            passes: Each of another buffer.

        Returns:
            For each pass its logits, as `forward`.
        """
        with self.lock:
            takes = self.short_passes.takes if self.short_passes is not None else lambda _: False
            together = [one for one in passes if takes(one)]
            made = iter(self.short_passes(together) if self.short_passes and together else ())
            return [next(made) if takes(one) else self.forward(one) for one in passes]

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

    def require_composable(self, tokens: int) -> None:
        """Check that a prompt's states may be composed.

        Args:
            tokens: Of the prompt and its longest answer.

        Raises:
            ModelError: The model does something that composing does not reproduce.
        """
        limit = self.geometry.rotation.limit
        if self.refusal is not None or (limit is not None and tokens > limit):
            why = self.refusal or f"its RoPE changes beyond {limit} tokens"
            raise ModelError(
                f"{self.id!r} ({type(self.model).__name__}) cannot reuse chunks: {why}",
                where="reuse.mode",
                fix="use mode: full or prefix, or a smaller max_tokens",
            )


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
