"""What an operator may ask of the run it works in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.flow.run.events import Token, Warned
from rag.flow.run.tracing import count_tokens

if TYPE_CHECKING:
    from rag.flow.run.run import Run


class RunContext:
    """Handed to an operator whose `run` has a keyword-only parameter of this type."""

    __slots__ = ("_run", "node")

    def __init__(self, run: Run, node: str) -> None:
        self._run = run
        self.node = node
        """The path of the step in its flow."""

    @property
    def listening(self) -> bool:
        """Whether anybody reads the events: a generator that nobody watches need not stream."""
        return self._run.emit is not None

    def token(self, text: str) -> None:
        """Pass on a piece of text that is ready; safe from any thread."""
        if self._run.emit is not None:
            self._run.emit(Token(self.node, text))

    def spend(self, *, llm_calls: int = 0, tokens: int = 0) -> None:
        """Count what a step uses; safe from any thread.

        Raises:
            BudgetError: The run has used more than it may.
        """
        if self._run.tracer is not None and tokens:
            count_tokens(tokens)
        self._run.spent.add(llm_calls, tokens)

    def warn(self, message: str) -> None:
        """Say that something was cut or guessed; the run goes on. Safe from any thread."""
        if self._run.emit is not None:
            self._run.emit(Warned(self.node, message))
