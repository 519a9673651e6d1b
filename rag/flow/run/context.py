"""What an operator may ask of the run it works in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag.flow.place import Place
from rag.flow.run.events import Custom, ModelCalled, Token, Warned
from rag.flow.run.tracing import trace_call

if TYPE_CHECKING:
    from rag.flow.run.run import Run
    from rag.flow.run.threads import Job


class RunContext:
    """Given to an operator whose `run` has a keyword-only parameter of this type.

    All methods are safe from any thread.
    """

    __slots__ = ("_job", "_place", "_run")

    def __init__(self, run: Run, place: Place) -> None:
        self._run, self._place = run, place
        self._job: Job | None = None

    def started(self, job: Job) -> None:
        """Remember the thread's job that the step is."""
        self._job = job
        if self._run.jobs is not None:
            self._run.jobs.append(job)

    @property
    def place(self) -> Place:
        """The occurrence of the step in this run."""
        return self._run.at(self._place)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.id

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the step any more: it timed out, or the run was cancelled.

        A function in a thread cannot be stopped from outside; one that takes long looks here
        now and then, and returns.
        """
        return self._job is not None and self._job.abandoned

    def token(self, text: str) -> None:
        """Emit a piece of text that is ready."""
        self._run.tell(Token, self._place, text=text)

    def emit(self, name: str, data: Any = None) -> None:
        """Emit an event of one's own: progress, an intermediate result."""
        self._run.tell(Custom, self._place, name=name, data=data)

    def warn(self, message: str) -> None:
        """Report that something was cut or guessed; the run goes on."""
        self._run.tell(Warned, self._place, message=message)

    def spend(self, *, llm_calls: int = 0, tokens: int = 0) -> None:
        """Count what the step uses.

        Raises:
            BudgetError: The run exceeded its budget.
        """
        if self._run.tracer is not None and tokens:
            trace_call(tokens=tokens)
        self._run.spent.add(llm_calls, tokens)

    def model_called(
        self,
        *,
        model: str,
        prompt: Sequence[Mapping[str, str]],
        output: str,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        seconds: float = 0.0,
        reuse: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a call of a language model and count its tokens; `spend` counts the call itself.

        Args:
            model: The model's id.
            prompt: The messages as sent: mappings of `role` and `content`.
            output: The text that came back.
            prompt_tokens: Tokens of the prompt.
            completion_tokens: Tokens of the output.
            seconds: What the call took.
            reuse: What of the prompt's states was reused and computed.

        Raises:
            BudgetError: The run exceeded its budget.
        """
        call: dict[str, Any] = {
            "model": model,
            "prompt": tuple(prompt),
            "output": output,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
        }
        self._run.tell(ModelCalled, self._place, **call, seconds=seconds, reuse=reuse)
        tokens = prompt_tokens + completion_tokens
        if self._run.tracer is not None:
            trace_call(tokens=tokens, **call)
        self._run.spent.add(0, tokens)
