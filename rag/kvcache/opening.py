"""Opening a transformers model for composed KV states."""

from __future__ import annotations

from typing import Any

from rag.errors import ModelError
from rag.kvcache import probe
from rag.kvcache.model import ModelView
from rag.kvcache.step import fused_step


def open_view(model: Any, id: str, int8: bool = False) -> ModelView:  # noqa: A002
    """Prepare a model and measure what may be done with its states.

    Attention is installed through transformers' `AttentionInterface`. Which keys a layer rotates
    and how is measured on a probe, not assumed from the model's name: a model that does anything
    else is not composed, and `ModelView.refusal` says why.

    Args:
        model: A causal language model of transformers.
        id: Its name, for messages.
        int8: Decode with weights in eight bits, where the model is of a family that `step` knows.

    Raises:
        ModelError: The model's layers cannot be found, so not even `full` works; or `int8` is
            not available for it.
    """
    view = ModelView(model, id)
    view.refusal = probe.unsupported(view)
    view.attends = probe.attends(view)
    if not view.attends:
        view.restore()
        view.refusal = view.refusal or "its attention does more than attend (sinks, biases)"
    elif view.refusal is None:
        view.refusal = probe.find_rotation(view)
    # Requests with different frequencies cannot share a step.
    if view.refusal is None and view.geometry.rotation.limit is None:
        view.short_passes = fused_step(view, int8)
    if int8 and (view.short_passes is None or view.device.type != "cpu"):
        raise ModelError(
            f"{id!r} ({type(model).__name__}) cannot decode with weights in eight bits",
            where="resources.llm.int8",
            fix="leave it out: it is for models of the Llama family, on a processor",
        )
    return view
