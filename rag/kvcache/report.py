"""What was reused and what was computed for a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Literal

Kind = Literal["exact", "repaired", "aligned", "parallel", "unrepaired"]
"""How near an answer is to that of full prefill; never mixed up in any count.

`exact`: the same to rounding. `repaired`: chunks at their true positions, partly recomputed.
`aligned`: chunks at their true positions, mapped to what they would be there, and perhaps partly
recomputed. `parallel`: chunks do not see each other. `unrepaired`: placed, nothing recomputed.
"""


@dataclass
class ChunkReport:
    """One chunk of a prompt.

    Attributes:
        tokens: Its length.
        hit: Whether its states came from the store.
        why: Of a miss: `absent`, `corrupt`, `other tokens`, `unreachable`, `not looked for`.
        tier: Of a hit: where its states were.
        recomputed: Tokens whose states were computed for this prompt.
    """

    tokens: int
    hit: bool
    why: str | None
    tier: str | None
    recomputed: int = 0


@dataclass
class Report:
    """One prompt: what was reused, what was computed, and how long each took.

    Attributes:
        mode: The composer.
        kind: Its class.
        tokens: Of the whole prompt.
        chunks: In prompt order.
        milliseconds: Of each phase: `lookup`, `load`, `encode`, `compose`, `choose`, `recompute`,
            `sparse`; and `first_token`, which is all of them.
        sparse: Tokens of the context that the answer attends to; None: all.
    """

    mode: str
    kind: Kind
    tokens: int = 0
    chunks: list[ChunkReport] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    sparse: int | None = None

    @property
    def reused(self) -> int:
        """Tokens of chunks whose states came from the store and were not recomputed."""
        return sum(chunk.tokens - chunk.recomputed for chunk in self.chunks if chunk.hit)

    @property
    def recomputed(self) -> int:
        """Tokens of chunks whose states were computed for this prompt."""
        return sum(chunk.recomputed for chunk in self.chunks)

    def add(self, phase: str, seconds: float) -> None:
        """Add to the time of a phase."""
        self.milliseconds[phase] = self.milliseconds.get(phase, 0.0) + seconds * 1000

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time spent in this context to a phase."""
        started = perf_counter()
        try:
            yield
        finally:
            self.add(phase, perf_counter() - started)

    def as_dict(self) -> dict[str, Any]:
        """For an answer's metadata."""
        return {**asdict(self), "reused": self.reused, "recomputed": self.recomputed}
