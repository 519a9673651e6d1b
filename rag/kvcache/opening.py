"""Opening a model for composed KV states."""

from __future__ import annotations

from typing import Any

from rag.errors import ModelError
from rag.kvcache import probe
from rag.kvcache.library import LibraryView
from rag.kvcache.native.proof import native


def open_view(model: Any, id: str, weights: str = "full") -> LibraryView:  # noqa: A002
    """Prepare a model of transformers; written out, where it is of the family of `native`.

    Args:
        model: A causal language model of transformers.
        id: Its name, for messages.
        weights: `int8`: decode with weights in eight bits.

    Raises:
        ModelError: The model's layers cannot be found, so not even `full` works; or its
            weights are not available so.
    """
    view = open_library(model, id)
    if view.refusal is None:
        view.native = native(view)
    if weights != "full":
        if view.native is None or view.device.type != "cpu" or weights != "int8":
            raise not_quantized(id, view.architecture, weights)
        view.native.quantize()
    return view


def not_quantized(id: str, architecture: str, weights: str) -> ModelError:  # noqa: A002
    """The error for a model that cannot decode with its weights in `int8`, or `int4`."""
    source = ", from a GGUF file of Q4_0 or Q4_1" if weights == "int4" else ""
    return ModelError(
        f"{id!r} ({architecture}) cannot decode with weights in {weights}",
        where="resources.llm.weights",
        fix=f"leave it out: it is for models of the Llama family, on a processor{source}",
    )


def open_library(model: Any, id: str) -> LibraryView:  # noqa: A002
    """Prepare a model of transformers and measure what may be done with its states.

    Attention is installed through transformers' `AttentionInterface`. Which keys a layer rotates
    and how is measured on a probe, not assumed from the model's name: a model that does anything
    else is not composed, and `ModelView.refusal` says why.

    Raises:
        ModelError: The model's layers cannot be found.
    """
    view = LibraryView(model, id)
    view.refusal = probe.unsupported(view)
    view.attends = probe.attends(view)
    if not view.attends:
        view.restore()
        view.refusal = view.refusal or "its attention does more than attend (sinks, biases)"
    elif view.refusal is None:
        view.refusal = probe.find_rotation(view)
    return view
