"""What a composed prompt says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["exact", "repaired", "parallel", "unrepaired"]
"""How near an answer is to what full prefill would give; never mixed up in any count.

`exact`: the same to rounding. `repaired`: placed at true positions, partly computed again.
`parallel`: chunks do not see each other. `unrepaired`: placed, nothing computed again.
"""


@dataclass
class ChunkReport:
    """One chunk of a prompt."""

    tokens: int
    hit: bool
    why: str | None
    """Of a miss: `absent`, `corrupt`, `other tokens`, `unreachable`, `not looked for`."""
    tier: str | None
    """Of a hit: where it lay."""
    recomputed: int = 0
    """Tokens whose states were computed for this prompt."""


@dataclass
class Report:
    """One prompt: what was reused, what was computed, and what each took."""

    mode: str
    kind: Kind
    tokens: int = 0
    chunks: list[ChunkReport] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    """`lookup`, `load`, `encode`, `compose`, `recompute`, `first_token`."""

    @property
    def reused(self) -> int:
        """Tokens of chunks whose states came from the store and stayed."""
        return sum(chunk.tokens - chunk.recomputed for chunk in self.chunks if chunk.hit)

    @property
    def recomputed(self) -> int:
        """Tokens of chunks whose states were computed for this prompt."""
        return sum(chunk.recomputed for chunk in self.chunks)

    def as_dict(self) -> dict[str, Any]:
        """For an answer's metadata."""
        return {**asdict(self), "reused": self.reused, "recomputed": self.recomputed}
