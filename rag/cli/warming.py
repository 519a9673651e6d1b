"""Computing the states of an index's chunks before any question."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag.flow import Flow
    from rag.index import Index
    from rag.models.local.model import LocalLLM
    from rag.operators.generation.generate import Generate

BATCH = 64
"""Chunks that are tokenised, and where they are stored alone computed, together."""


def reusing_step(flow: Flow) -> Generate:
    """The generation step that reuses states which can be computed before any question.

    Raises:
        ConfigError: No step does.
    """
    from rag.errors import ConfigError
    from rag.kvcache.composers.registry import warmable
    from rag.operators.generation.generate import Generate

    for node in flow.steps.values():
        if isinstance(node, Generate) and node.reuse is not None:
            if node.reuse.mode not in warmable():
                raise ConfigError(
                    f"what {node.reuse.mode!r} stores depends on the prompt: nothing to warm",
                    where="reuse.mode",
                    fix=f"choose one of: {', '.join(warmable())}",
                )
            return node
    raise ConfigError(
        "no step of the pipeline reuses states",
        where="steps",
        fix="give the generation step `reuse`: {use: generate, reuse: {mode: focus}}",
    )


def warmed(llm: LocalLLM, index: Index, step: Generate, related: int) -> tuple[int, int]:
    """Compute and store the states of all chunks of an index that are not stored yet.

    Args:
        llm: The model.
        index: With the chunks.
        step: Reuses them.
        related: Chunks that each one is computed behind, where the mode stores variants.

    Returns:
        How many chunks there are, and how many were computed.
    """
    from rich.progress import track

    from rag.cli.output import console
    from rag.models import Prompt

    assert step.reuse is not None  # noqa: S101 - `reusing_step` chose it
    behind = step.reuse.composer.resolved(llm.engine.defaults).stores == "variants"
    system = step.system or llm.prompt_set["generate"].text
    computed = seen = 0
    batches = list(index.batches(BATCH))
    for batch in track(batches, "Computing", console=console(stderr=True), transient=True):
        seen += len(batch)
        if not behind:
            texts = tuple(chunk.embedding_text for chunk in batch)
            tokens = llm.template.tokenize(Prompt("?", system, texts, numbered=False))
            computed += llm.engine.warm(tokens.prefix, tokens.chunks)
            continue
        for chunk in batch:
            like = [hit.chunk for hit in index.sparse(chunk.text, related + 1)]
            others = [one for one in like if one.id != chunk.id][:related]
            # The nearest stands next to it.
            texts = tuple(one.embedding_text for one in (*others[::-1], chunk))
            tokens = llm.template.tokenize(Prompt("?", system, texts, numbered=False))
            *before, own = tokens.chunks
            computed += llm.engine.warm_behind(
                tokens.prefix, before, own, tokens.suffix, step.reuse
            )
    return seen, computed
