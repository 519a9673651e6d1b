"""A graph of an index's chunks and the entities that they name, and random walks over it.

After HippoRAG (Gutierrez et al. 2024, arXiv 2405.14831). Chunks are nodes beside their entities,
as in HippoRAG 2 (arXiv 2502.14802), so that a chunk's score is its own share of the walk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.index.local.derived import Derived, half
from rag.operators.entities import entities, normalised
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

    from rag.models import Embedder

STEPS, ENOUGH = 50, 1e-6
"""Steps of a walk at most, and the change of all shares at which it ends."""
NEAREST = 8
"""Synonyms of an entity at most."""
FLAT = 4_000
"""Entities up to which all pairs are compared; above, those of the nearest cells."""


@dataclass(frozen=True)
class EntityGraph:
    """Entities and chunks as one graph.

    Attributes:
        names: Normalised name of an entity to its node; nodes of chunks follow.
        vectors: Of the entities: float32 [entities, dim], unit length.
        spread: Chunks that name each entity: int64 [entities].
        walk: Where a walk goes from each node: sparse float64 [nodes, nodes], whose columns sum
            to 1, or to 0 for a node without edges.
    """

    names: Mapping[str, int]
    vectors: np.ndarray
    spread: np.ndarray
    walk: Any

    def nearest(self, vectors: np.ndarray, least: float) -> list[int]:
        """For each vector, float32 [n, dim], the entity nearest to it with at least this cosine."""
        if not len(self.names) or not len(vectors):
            return []
        near = vectors @ self.vectors.T
        best = near.argmax(axis=1)
        return [int(at) for row, at in zip(near, best, strict=True) if row[at] >= least]

    def shares(self, seeds: np.ndarray, damping: float) -> np.ndarray:
        """Personalised PageRank: how often a walk that begins at the seeds is at each node.

        Args:
            seeds: Where it begins and returns to: float64 [nodes], not negative, not all zero.
            damping: The chance of another step, instead of returning.

        Returns:
            float64 [nodes], with a sum of 1.
        """
        import numpy as np

        start = seeds / seeds.sum()
        found = start
        for _ in range(STEPS):
            moved = self.walk @ found
            after = damping * moved + (1 - damping * moved.sum()) * start
            change, found = float(np.abs(after - found).sum()), after
            if change < ENOUGH:
                break
        return np.asarray(found)


def entity_graph(embedder: Embedder, synonyms: float) -> Derived[EntityGraph]:
    """The graph of an index, whose entities and vectors are stored beside the index.

    Args:
        embedder: Of the entities' names.
        synonyms: The cosine from which two names are connected.
    """

    def compute(chunks: Sequence[Chunk]) -> list[bytes]:
        read = [named(chunk) for chunk in chunks]
        names = sorted({name for found, _ in read for name in found})
        vectors = dict(zip(names, embedder.embed(names), strict=True))
        return [_packed(found, pairs, vectors) for found, pairs in read]

    def build(data: list[bytes]) -> EntityGraph:
        return _built(data, embedder.dim, synonyms)

    return Derived(f"entities {embedder.id} {synonyms}", compute, build)


def named(chunk: Chunk) -> tuple[list[str], list[tuple[int, int]]]:
    """The entities of a chunk, and which of them a fact connects.

    Those of the triples that a model wrote (`describe: {by: triples}`), else those that rules find.
    """
    triples = chunk.metadata.get("triples")
    if not isinstance(triples, list | tuple) or not triples:
        return entities(chunk.text), []
    found: dict[str, int] = {}
    pairs = []
    for triple in triples:
        if isinstance(triple, list | tuple) and len(triple) == 3:
            ends = [normalised(str(triple[0])), normalised(str(triple[2]))]
            if all(ends):
                one, other = (found.setdefault(name, len(found)) for name in ends)
                pairs.append((one, other))
    return list(found), pairs


def _packed(
    names: list[str], pairs: list[tuple[int, int]], vectors: Mapping[str, np.ndarray]
) -> bytes:
    import numpy as np

    head = json.dumps([names, pairs]).encode()
    rows = np.stack([vectors[name] for name in names]) if names else np.zeros((0, 1))
    return head + b"\0" + half(rows)


def _built(data: list[bytes], dim: int, synonyms: float) -> EntityGraph:
    import numpy as np
    from scipy.sparse import coo_matrix, diags

    ids: dict[str, int] = {}
    rows: list[bytes] = []
    named_by: list[list[int]] = []
    edges: list[tuple[int, int]] = []
    for one in data:
        head, _, packed = one.partition(b"\0")
        names, pairs = json.loads(head)
        places = []
        for at, name in enumerate(names):
            if name not in ids:
                ids[name] = len(ids)
                rows.append(packed[at * 2 * dim : (at + 1) * 2 * dim])
            places.append(ids[name])
        named_by.append(places)
        edges += [(places[a], places[b]) for a, b in pairs if a != b]
    count = len(ids)
    halves: Any = np.frombuffer(b"".join(rows), dtype=np.float16)
    vectors = halves.reshape(-1, dim).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    edges += [(entity, count + at) for at, places in enumerate(named_by) for entity in places]
    alike = _synonyms(vectors, synonyms)
    ends = np.array([*edges, *((a, b) for a, b, _ in alike)], dtype=np.int64).reshape(-1, 2)
    weights = np.array([*(1.0 for _ in edges), *(near for *_, near in alike)])
    nodes = count + len(data)
    one_way = coo_matrix((weights, (ends[:, 0], ends[:, 1])), shape=(nodes, nodes))
    both = (one_way + one_way.T).tocsr()
    degrees = np.asarray(both.sum(axis=0)).ravel()
    scale = np.divide(1.0, degrees, out=np.zeros(nodes), where=degrees > 0)
    spread = np.bincount([e for places in named_by for e in places], minlength=count)
    return EntityGraph(ids, vectors, spread, (both @ diags(scale)).tocsr())


def _synonyms(vectors: np.ndarray, least: float) -> list[tuple[int, int, float]]:
    """Pairs of entities whose names are near, the first before the second, with their cosine."""
    import faiss

    count, dim = vectors.shape
    if count < 2 or least > 1:
        return []
    index: Any = faiss.IndexFlatIP(dim)
    if count > FLAT:
        index = faiss.IndexIVFFlat(index, dim, int(count**0.5), faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.nprobe = 4
    index.add(vectors)
    scores, found = index.search(vectors, min(NEAREST + 1, count))
    return [
        (min(a, int(b)), max(a, int(b)), float(score))
        for a, (near, others) in enumerate(zip(scores, found, strict=True))
        for score, b in zip(near, others, strict=True)
        if score >= least and (a < b or (0 <= b < a and a not in found[b]))
    ]
