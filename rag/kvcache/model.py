"""What the cache must know of a model: its layers, how it rotates keys, where it looks."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

from rag.errors import ModelError
from rag.kvcache import attention
from rag.kvcache.passes import Pass
from rag.kvcache.rotation import Rotation
from rag.kvcache.step import FEW, FusedStep, fused

if TYPE_CHECKING:
    import torch


def cache_name(model: Any) -> str:
    """What the model's forward pass calls the cache: releases of transformers differ."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


class ModelView:
    """A causal language model of transformers, prepared for composed KV states.

    Attention is installed through transformers' `AttentionInterface`. Which keys a layer rotates
    and how is measured on a probe, not assumed from the model's name: a model that does anything
    else is refused for composing, and says why in `refusal`.

    Args:
        model: A causal language model.
        id: Its name, for messages.
        int8: Decode with weights in eight bits, where the model is of a family that `step` knows.

    Raises:
        ModelError: The model's layers cannot be found, so not even `full` works; or `int8` is
            not to be had for it.
    """

    def __init__(self, model: Any, id: str, int8: bool = False) -> None:  # noqa: A002
        self.model, self.id = model, id
        self._cache = cache_name(model)
        self.lock = threading.RLock()
        """One forward pass at a time: hooks and buffers belong to it."""
        config = model.config.get_text_config()
        self.config = config
        self.decoder = _decoder(model)
        self.attentions = [layer.self_attn for layer in self.decoder.layers]
        self.layers = len(self.attentions)
        self.heads = config.num_attention_heads
        self.kv_heads = getattr(config, "num_key_value_heads", None) or self.heads
        head_dim = getattr(config, "head_dim", None)
        self.head_dim = int(head_dim or config.hidden_size // config.num_attention_heads)
        types = getattr(config, "layer_types", None) or [None] * self.layers
        self.layer_types: list[str | None] = list(types)
        self.windows = [self._window(kind) for kind in self.layer_types]
        self._taps = [self._tap(module) for module in self.attentions]
        self._heads_first = False
        """Whether the tapped module gives [1, kv_heads, tokens, head_dim]."""
        own = config._attn_implementation
        # A configuration shared with a model that was prepared before says our name already.
        self._original = "sdpa" if own == attention.NAME else own
        rotary = getattr(self.decoder, "rotary_emb", None)
        self.rotation = Rotation(rotary, config, self.layer_types)
        self.refusal = self._refusal()
        """Why prompts of this model cannot be composed; None: they can."""
        attention.install(model)
        self.attends = not getattr(config, "attn_logit_softcapping", None) and self._attends()
        """Whether plain prefill under our attention is what the model gives by itself."""
        if not self.attends:
            model.set_attn_implementation(self._original)
            self.refusal = self.refusal or "its attention does more than attend (sinks, biases)"
        elif self.refusal is None:
            self.refusal = self._rotates()
        self.fused: FusedStep | None = None
        """Passes of few tokens, where the model is of a family that is known."""
        if self.refusal is None:
            self.fused = fused(self, int8)
        if int8 and (self.fused is None or self.device.type != "cpu"):
            raise ModelError(
                f"{id!r} ({type(model).__name__}) cannot decode with weights in eight bits",
                where="resources.llm.int8",
                fix="leave it out: it is for models of the Llama family, on a processor",
            )

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        found: torch.device = self.decoder.embed_tokens.weight.device
        return found

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its states."""
        found: torch.dtype = self.decoder.embed_tokens.weight.dtype
        return found

    def fingerprint(self) -> str:
        """A digest of configuration, weights and number format: other states, another digest."""
        digest = hashlib.sha256(self.config.to_json_string(use_diff=False).encode())
        digest.update(str(self.dtype).encode())
        for name, weight in sorted(self.model.named_parameters()):
            # A sample of every tensor: hashing all of a large model would take minutes.
            flat = weight.detach().reshape(-1)
            sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
            digest.update(f"{name}{tuple(weight.shape)}".encode() + sample.tobytes())
        return digest.hexdigest()

    def _window(self, kind: str | None) -> int | None:
        window = getattr(self.config, "sliding_window", None)
        if not window or getattr(self.config, "use_sliding_window", True) is False:
            return None
        return int(window) if kind in (None, "sliding_attention") else None

    def _refusal(self) -> str | None:
        """What the configuration says that cannot be composed."""
        strange = {t for t in self.layer_types if t} - {"full_attention", "sliding_attention"}
        if strange:
            return f"layers of the type {', '.join(sorted(strange))} keep no keys per token"
        if getattr(self.config, "attn_logit_softcapping", None):
            return "its attention scores are capped (attn_logit_softcapping)"
        if any(tap is None for tap in self._taps):
            return "its keys cannot be had before they are rotated"
        if not hasattr(self.decoder, "rotary_emb"):
            return "it has no rotary position embedding (RoPE)"
        return None

    def _tap(self, module: Any) -> tuple[Any, int | None] | None:
        """The module whose output is the un-rotated keys, and where they begin in it."""
        for name in ("k_norm", "k_proj"):
            if hasattr(module, name):
                return getattr(module, name), None
        if hasattr(module, "qkv_proj"):
            return module.qkv_proj, self.heads * self.head_dim
        return None

    @contextmanager
    def capturing(self) -> Iterator[dict[int, torch.Tensor]]:
        """Collect every layer's keys before rotation: layer to [kv_heads, tokens, head_dim]."""
        captured: dict[int, torch.Tensor] = {}

        def hook(layer: int, start: int | None) -> Any:
            def keep(module: Any, given: Any, output: torch.Tensor) -> None:
                keys = output
                if start is not None:
                    keys = keys[..., start : start + self.kv_heads * self.head_dim]
                if self._heads_first and keys.ndim == 4:
                    captured[layer] = keys[0]
                else:
                    captured[layer] = keys.reshape(-1, self.kv_heads, self.head_dim).transpose(0, 1)

            return keep

        hooks = [
            tap[0].register_forward_hook(hook(layer, tap[1]))
            for layer, tap in enumerate(self._taps)
            if tap is not None
        ]
        try:
            yield captured
        finally:
            for one in hooks:
                one.remove()

    def _probe(self) -> torch.Tensor:
        import torch

        count = 12 if self.kv_heads != 12 else 13
        return (torch.arange(count) * 7919 + 11) % int(self.config.vocab_size)

    def _attends(self) -> bool:
        """Compare a probe's logits with the model's own."""
        import torch

        from rag.kvcache.buffer import KVBuffer

        ids = self._probe()
        try:
            with torch.inference_mode():
                ours = self.forward(ids, torch.arange(len(ids)), KVBuffer(self, len(ids))).float()
        except (RuntimeError, TypeError, ValueError, AttributeError):
            return False  # it keeps other states than keys and values per head
        theirs = self._by_itself(ids).float()
        far = (ours - theirs).abs().max() / theirs.abs().max().clamp(1e-6)
        return bool(far <= (5e-2 if self.dtype != torch.float32 else 1e-3))

    def _rotates(self) -> str | None:
        """Compare a probe's rotated keys with what the model itself makes of them."""
        import torch

        from rag.kvcache.buffer import KVBuffer

        ids = self._probe()
        places = torch.arange(len(ids))
        shapes: list[torch.Size] = []
        tap = self._taps[0]
        assert tap is not None  # noqa: S101 - `_refusal` looked
        hook = tap[0].register_forward_hook(lambda module, given, out: shapes.append(out.shape))
        with torch.inference_mode():
            self.forward(ids, places, KVBuffer(self, len(ids)))
        hook.remove()
        self._heads_first = bool(shapes) and len(shapes[0]) == 4 and shapes[0][1] == self.kv_heads
        buffer = KVBuffer(self, len(ids))
        with torch.inference_mode(), self.capturing() as captured:
            self.forward(ids, places, buffer)
        close = 2e-2 if self.dtype != torch.float32 else 1e-4
        for layer in range(self.layers):
            if layer not in captured:
                return "its keys cannot be had before they are rotated"
            made = buffer.keys[layer].float()
            plain = captured[layer].float()
            turned = self.rotation.of_layer(layer, plain, places)
            scale = made.abs().max().clamp(min=1e-6)
            if (turned - made).abs().max() / scale > close:
                if (plain - made).abs().max() / scale > close:
                    return f"layer {layer} rotates its keys in a way that is not known"
                self.rotation.rotated[layer] = False
        return None

    def _by_itself(self, ids: torch.Tensor) -> torch.Tensor:
        """The last token's logits [vocabulary] as transformers computes them."""
        import torch

        self.model.set_attn_implementation(self._original)
        try:
            with torch.inference_mode():
                given = ids[None].to(self.device)
                found: torch.Tensor = self.model(given, use_cache=False).logits[0, -1]
                return found
        finally:
            attention.install(self.model)

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, buffer: Any, **plan: Any
    ) -> torch.Tensor:
        """One pass over tokens; their states go into the buffer.

        Args:
            ids: [tokens].
            positions: [tokens], which may be in any order.
            buffer: A `KVBuffer`.
            plan: Fields of `attention.Plan` besides the positions.

        Returns:
            The logits of the last token: [vocabulary].
        """
        return self._run(ids, positions, buffer, buffer.plan(positions.to(self.device), **plan))

    def seen(
        self, ids: torch.Tensor, positions: torch.Tensor, buffer: Any, watch: frozenset[int]
    ) -> torch.Tensor:
        """How much attention every slot gets from a pass over tokens.

        Args:
            ids: [tokens].
            positions: [tokens].
            buffer: A `KVBuffer`; the tokens' states are appended.
            watch: The layers whose weights are summed.

        Returns:
            Weights summed over tokens and layers, averaged over heads: [slots].
        """
        plan = buffer.plan(positions.to(self.device), watch=watch)
        self._run(ids, positions, buffer, plan)
        seen: torch.Tensor | None = plan.seen
        assert seen is not None  # noqa: S101 - at least one layer is watched
        return seen

    def measured(
        self,
        ids: torch.Tensor,
        slots: torch.Tensor,
        buffer: Any,
        watch: frozenset[int],
        bounds: list[tuple[int, int]],
        chunks: dict[int, tuple[int, int]],
    ) -> dict[tuple[int, int], torch.Tensor]:
        """Compute chunks where they stand, and measure what they attend to.

        Args:
            ids: Their tokens, one chunk after another: [tokens].
            slots: Of these tokens, which are their positions too: [tokens].
            buffer: A `KVBuffer` that holds all other states before them.
            watch: The layers whose weights are summed.
            bounds: First and last slot of every chunk of the prompt.
            chunks: Number of each computed chunk to its first and end in `ids`.

        Returns:
            For each computed chunk and each one up to itself the attention that each of the
            chunk's tokens pays to it: [tokens], summed over the layers, averaged over heads.
        """
        fields = {"watch": watch, "bounds": bounds, "measured": chunks}
        plan = buffer.plan(slots.to(self.device), rewrite=slots.to(self.device), **fields)
        self._run(ids, slots, buffer, plan)
        return dict(plan.pairs)

    def _run(
        self, ids: torch.Tensor, positions: torch.Tensor, buffer: Any, plan: Any
    ) -> torch.Tensor:
        with attention.following(plan):
            found: torch.Tensor = self.model(
                ids[None].to(self.device),
                position_ids=positions[None].to(self.device),
                use_cache=True,
                logits_to_keep=1,
                **{self._cache: buffer},
            ).logits[0, -1]
        return found

    def step(self, ids: torch.Tensor, position: int, buffer: Any, **plan: Any) -> torch.Tensor:
        """One pass over tokens in a row, whose logits are all wanted; see `steps`."""
        return self.steps([Pass(ids.tolist(), position, buffer, plan)])[0]

    def steps(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """Passes of several requests, together where the model is of a family that is known.

        Returns:
            For each pass its logits [tokens, vocabulary].
        """
        with self.lock:
            if self.fused is not None and all(len(one.ids) <= FEW for one in passes):
                return self.fused(passes)
            return [self._step(one) for one in passes]

    def _step(self, one: Pass) -> torch.Tensor:
        import torch

        places = torch.arange(one.position, one.position + len(one.ids), device=self.device)
        with attention.following(one.buffer.plan(places, **one.plan)):
            found: torch.Tensor = self.model(
                torch.tensor([one.ids], device=self.device),
                position_ids=places[None],
                use_cache=True,
                **{self._cache: one.buffer},
            ).logits[0]
        return found

    def compose_or_refuse(self, tokens: int) -> None:
        """Check that a prompt's states may be composed.

        Raises:
            ModelError: The model does something that composing does not reproduce.
        """
        room = self.rotation.limit
        if self.refusal is not None or (room is not None and tokens > room):
            why = self.refusal or f"its RoPE changes beyond {room} tokens"
            raise ModelError(
                f"{self.id!r} ({type(self.model).__name__}) cannot reuse chunks: {why}",
                where="reuse.mode",
                fix="use mode: full, or prefix",
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
