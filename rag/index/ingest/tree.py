"""Trees of summaries over the chunks of each source.

RAPTOR (Sarthi et al. 2024, arXiv 2401.18059): chunks are clustered by their vectors, a model
summarises each cluster, and the summaries are clustered again. All levels are searched together
(the paper's collapsed tree, section 3), as summaries are chunks too. Clusters here are by k-means
and hard, where the paper's are Gaussian mixtures after UMAP; and a tree is of one source, so that
a changed source rebuilds its own alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rag.index.embedding import embed_chunks
from rag.models import Prompt, Sampling
from rag.models.together import together
from rag.prompts.sanitize import harmless
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.flow import RunContext
    from rag.index.spec import SummariesSpec
    from rag.models import LLM, Embedder

SUMMARY = "summary"
MARGIN = 96
"""Tokens kept free for the chat template."""
_OWN = frozenset(
    """
    start end page page_label rows heading parents questions summary context triples found_by
    pooled_within written_as score scores
    """.split()  # noqa: SIM905 - a list of words reads no better
)
"""Metadata of a chunk that are not its source's."""


async def with_summaries(
    chunks: Sequence[Chunk],
    how: SummariesSpec,
    embedder: Embedder,
    llm: LLM,
    *,
    ctx: RunContext | None = None,
) -> list[Chunk]:
    """The chunks, and behind those of each source the summaries of its tree.

    Args:
        chunks: Those of a source together. What a model wrote is in no tree.
        how: The shape of the trees.
        embedder: Of what is clustered.
        llm: Writes the summaries.
        ctx: Counts the calls.

    Returns:
        A summary has `written_as: summary`, its `level` from 1, and as `children` page (0: there
        are none) and first character of each chunk that it was written of, directly or not. A
        source of one chunk has none.

    Raises:
        ModelError: A model cannot be reached.
        BudgetError: The run exceeded its budget.
    """
    found: list[Chunk] = []
    for _, group in groupby(chunks, lambda chunk: chunk.source or chunk.path or object()):
        source = list(group)
        found += source
        nodes = [chunk for chunk in source if not chunk.written_as]
        for level in range(1, how.levels + 1):
            if len(nodes) < 2:
                break
            vectors = embed_chunks(embedder, nodes)
            nodes = await _summaries(nodes, clusters(vectors, how.size), level, how, llm, ctx)
            found += nodes
    return found


def clusters(vectors: np.ndarray, size: int) -> list[list[int]]:
    """Vectors by spherical k-means: the places of each cluster's, rising; the same every time.

    Args:
        vectors: float32 [n, dim], unit length.
        size: Of a cluster, on average at most.
    """
    import faiss
    import numpy as np

    count, dim = vectors.shape
    wanted = -(-count // size)
    if wanted == 1:
        return [list(range(count))]
    means: Any = faiss.Kmeans(
        dim, wanted, niter=20, seed=0, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=count,
    )  # fmt: skip
    means.train(np.ascontiguousarray(vectors, dtype=np.float32))
    nearest = means.index.search(vectors, 1)[1][:, 0]
    parts = [np.flatnonzero(nearest == one).tolist() for one in range(wanted)]
    return sorted(part for part in parts if part)


async def _summaries(
    nodes: list[Chunk],
    parts: list[list[int]],
    level: int,
    how: SummariesSpec,
    llm: LLM,
    ctx: RunContext | None,
) -> list[Chunk]:
    """A summary of each part; a node that is alone in its part goes on as it is."""
    instruction = llm.prompt_set["summary_tree"].text
    room = llm.window - how.max_tokens - llm.profile.reasoning - llm.count(instruction) - MARGIN

    async def summary(part: list[int]) -> Chunk | None:
        members = [nodes[at] for at in part]
        text = llm.clip("\n\n".join(one.embedding_text for one in members), max(room, 1))
        if ctx is not None:
            ctx.spend(llm_calls=1)
        prompt = Prompt(instruction, chunks=(text,), numbered=False)
        done = await llm.generate(prompt, Sampling(max_tokens=how.max_tokens))
        if ctx is not None:
            ctx.spend(tokens=done.prompt_tokens + done.completion_tokens)
        written = harmless(done.text.strip())
        return _summary(written, members, level) if written else None

    found = await together(summary, parts, llm.profile.concurrency)
    return [one for one in found if one is not None]


def _summary(text: str, members: list[Chunk], level: int) -> Chunk:
    leaves = sorted({place for one in members for place in leaves_of(one)})
    shared = {key: value for key, value in members[0].metadata.items() if key not in _OWN}
    more = {"written_as": SUMMARY, "level": level, "children": [list(place) for place in leaves]}
    return Chunk(text, {**shared, **more})


def leaves_of(chunk: Chunk) -> list[tuple[int, int]]:
    """Page and first character of the chunks that a summary was written of; of a chunk its own."""
    children = chunk.metadata.get("children")
    if chunk.written_as != SUMMARY or not isinstance(children, list | tuple):
        return [chunk.position]
    return [(int(page), int(start)) for page, start in children]
