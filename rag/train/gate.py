"""The gate of a training: what does not beat its base on unseen questions is not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.errors import RagError
from rag.eval.compare import Gain, mean, paired_gain


class GateError(RagError):
    """A trained model does not beat its base on held-out questions, so it is not saved."""

    exit_code = 8


@dataclass(frozen=True)
class Verdict:
    """A trained model beside its base on the same questions.

    Attributes:
        name: Of the questions.
        measure: What is compared; 0 to 1 for each question.
        before: The base's values.
        after: The trained model's, in the same order.
        gates: Whether it decides; the others are only reported.
    """

    name: str
    measure: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    gates: bool = True

    @property
    def gain(self) -> Gain | None:
        """Mean difference with its 95 % interval by the paired bootstrap; None: no questions."""
        return paired_gain(self.after, self.before)

    @property
    def passed(self) -> bool:
        """Whether the interval is above zero."""
        return self.gain is not None and self.gain.low > 0

    def row(self) -> dict[str, object]:
        """For tables and cards."""
        return {
            "questions": self.name,
            "measure": self.measure,
            "n": len(self.before),
            "before": round(mean(self.before) or 0.0, 4),
            "after": round(mean(self.after) or 0.0, 4),
            "gain": str(self.gain),
            "gates": self.gates,
        }


def refuse(verdicts: Sequence[Verdict], force: bool) -> bool:
    """Whether the gate lets a model pass.

    Args:
        verdicts: Those that gate must all pass.
        force: Keep it all the same.

    Returns:
        False: it was forced, which its card must say.

    Raises:
        GateError: It does not pass, and is not forced.
    """
    failed = [one for one in verdicts if one.gates and not one.passed]
    if not failed:
        return True
    if not force:
        worst = failed[0]
        raise GateError(
            f"the trained model is not surely better than its base: {worst.measure} {worst.gain} "
            f"on {len(worst.before)} {worst.name} questions; nothing was saved",
            fix="train on more data, or with another seed or rate; --force keeps it, and says so",
        )
    return False
