"""Reading keys before their rotation out of a running model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class KeyCapture:
    """Finds in each layer the module whose output is the keys before rotation.

    Attributes:
        complete: Whether such a module was found in every layer.
        heads_first: Whether the modules return [1, kv_heads, tokens, head_dim], and not
            [1, tokens, kv_heads * head_dim] or [1, tokens, kv_heads, head_dim].

    Args:
        attentions: Each layer's attention module.
        heads: Query heads.
        kv_heads: Key heads.
        head_dim: Width of a head.
    """

    def __init__(self, attentions: Sequence[Any], heads: int, kv_heads: int, head_dim: int) -> None:
        self._kv_heads, self._head_dim = kv_heads, head_dim
        found = [_source(module, heads * head_dim) for module in attentions]
        self._sources = [one for one in found if one is not None]
        self.complete = len(self._sources) == len(found)
        self.heads_first = False

    def measure(self, run: Any) -> None:
        """Find out `heads_first` from a pass.

        Args:
            run: Called without arguments; makes a pass over a number of tokens that is not the
                number of key heads.
        """
        shapes: list[torch.Size] = []
        hook = self._sources[0][0].register_forward_hook(
            lambda module, inputs, output: shapes.append(output.shape)
        )
        try:
            run()
        finally:
            hook.remove()
        self.heads_first = bool(shapes) and len(shapes[0]) == 4 and shapes[0][1] == self._kv_heads

    @contextmanager
    def capturing(self, into: torch.Tensor) -> Iterator[None]:
        """Write the keys before rotation of a pass in this context.

        Args:
            into: [layers, kv_heads, tokens, head_dim].
        """

        def hook(layer: int, start: int | None) -> Any:
            def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
                keys = output
                if start is not None:
                    keys = keys[..., start : start + self._kv_heads * self._head_dim]
                if self.heads_first and keys.ndim == 4:
                    into[layer] = keys[0]
                else:
                    split = keys.reshape(-1, self._kv_heads, self._head_dim)
                    into[layer] = split.transpose(0, 1)

            return keep

        hooks = [
            module.register_forward_hook(hook(layer, start))
            for layer, (module, start) in enumerate(self._sources)
        ]
        try:
            yield
        finally:
            for one in hooks:
                one.remove()


def _source(attention: Any, query_width: int) -> tuple[Any, int | None] | None:
    """The module, and where the keys begin in its output if that holds the queries too."""
    for name in ("k_norm", "k_proj"):
        if hasattr(attention, name):
            return getattr(attention, name), None
    if hasattr(attention, "qkv_proj"):
        return attention.qkv_proj, query_width
    return None
