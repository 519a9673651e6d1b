"""The errors a user can meet: each says what was wrong, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class RagError(Exception):
    """Base of every error raised on purpose.

    Args:
        what: One sentence that says what was wrong.
        where: File and line, path of the node, or port.
        fix: How to mend it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  fix: {self.fix}" if self.fix else head

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (type(self), self.args, self.__dict__)


def _copied(kind: type[RagError], args: tuple[Any, ...], fields: Mapping[str, Any]) -> RagError:
    """An error as it was in another process, whatever its class takes to be made."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class ConfigError(RagError):
    """A configuration file, option or resource specification is wrong."""

    exit_code = 2


class InputError(RagError):
    """The values given to a flow do not fit its inputs."""

    exit_code = 2


class BuildError(RagError):
    """A flow does not fit together; `problems` holds everything found, not the first only."""

    exit_code = 2

    def __init__(self, problems: Sequence[RagError]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the flow")

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"- {problem}" for problem in self.problems)])


class LoadError(RagError):
    """A document could not be read; the message is the reason shown in the ingest table."""

    exit_code = 3


class IndexStateError(RagError):
    """An index is missing, damaged, locked by another writer, or made by another embedder."""

    exit_code = 4


class ModelError(RagError):
    """A model could not be found, read or reached."""

    exit_code = 5


class BudgetError(RagError):
    """A run exceeded its budget: seconds, LLM calls, or tokens."""

    exit_code = 6


class StepError(RagError):
    """A step failed while a flow ran; `__cause__` is what the operator raised.

    Args:
        what: One sentence that says what was wrong.
        where: The place of the step, as text.
        fix: How to mend it.
        place: The occurrence of the step: a `rag.flow.place.Place`.
    """

    exit_code = 6

    def __init__(
        self, what: str, *, where: str | None = None, fix: str | None = None, place: Any = ()
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.place = place


class CheckpointError(RagError):
    """A checkpointed run is unknown, is running elsewhere, or belongs to another pipeline."""

    exit_code = 4


@dataclass(frozen=True)
class Stop:
    """A place where a run waits for human approval.

    Args:
        place: The occurrence of the node: a `rag.flow.place.Place`.
        node: Its place in the flow, as text.
        message: The question.
        channels: What the person sees: channel to value.
        kinds: The types of these channels.
        question: Of one that a step raised itself: the digest of what it asks, else "". The
            channels are names of its own then.
    """

    place: Any
    node: str
    message: str
    channels: Mapping[str, Any]
    kinds: Mapping[str, Any]
    question: str = ""


class Interrupted(RagError):  # noqa: N818 - no error: the run waits
    """A run paused for human approval, at one place or several; it goes on when it is resumed."""

    exit_code = 7

    def __init__(self, stops: Sequence[Stop]) -> None:
        self.stops = tuple(stops)
        super().__init__(self.stops[0].message, where=str(self.stops[0].place))
