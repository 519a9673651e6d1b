"""What an operator may ask of the run it works in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rag.flow.place import Place
from rag.flow.run import inside
from rag.flow.run.events import Custom, ModelCalled, Token, Warned
from rag.flow.run.tracing import trace_call

if TYPE_CHECKING:
    from rag.flow.run.inside import Called
    from rag.flow.run.run import Left, Run
    from rag.flow.run.threads import Job

T = TypeVar("T")


class RunContext:
    """Given to an operator whose `run` has a keyword-only parameter of this type.

    All methods that are not coroutines are safe from any thread.
    """

    __slots__ = ("_calls", "_job", "_place", "_questions", "_run")

    def __init__(self, run: Run, place: Place) -> None:
        self._run, self._place = run, place
        self._job: Job | None = None
        self._questions = self._calls = 0

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
        self._run.notify(Token, self._place, text=text)

    def emit(self, name: str, data: Any = None) -> None:
        """Emit an event of one's own: progress, an intermediate result."""
        self._run.notify(Custom, self._place, name=name, data=data)

    def warn(self, message: str) -> None:
        """Report that something was cut or guessed; the run goes on."""
        self._run.notify(Warned, self._place, message=message)

    def spend(self, *, llm_calls: int = 0, tokens: int = 0) -> None:
        """Count what the step uses.

        Raises:
            BudgetError: The run exceeded its budget.
        """
        if self._run.tracer is not None and tokens:
            trace_call(tokens=tokens)
        self._run.spent.add(llm_calls, tokens)

    def left(self) -> Left:
        """What the step's budget, and those around it, still allow."""
        return self._run.spent.left()

    async def once(
        self, name: str, kind: Any, work: Callable[[], Awaitable[T]], /, **inputs: Any
    ) -> T:
        """The result of a part of a step, which a stored run does not do again.

        When the run is resumed, the step runs again from its start, and a part of the same name
        with equal inputs that was done already gives what it gave then. Without a stored run,
        the part is simply done.

        Args:
            name: Of the part; each of one step has its own.
            kind: The type of the result, which must be one that a channel may have.
            work: Does it.
            inputs: What the result depends on.
        """
        return cast(T, await inside.once(self._run, self._place, name, kind, work, inputs))

    async def interrupt(self, message: str, /, **shown: Any) -> dict[str, Any]:
        """Pause the run for human approval, in the middle of a step.

        The run ends here. When it is resumed, the step runs again from its start, and this call
        returns at once; so what stands before it in the step is done twice. An answer counts for
        the question that it was given to: where the message or a value shown is another one the
        second time, it is asked again.

        Args:
            message: The question.
            shown: Values that the person sees and may change to others of the same type:
                `await ctx.interrupt("Send this?", draft=draft, approved=True)`.

        Returns:
            The values as the person left them.

        Raises:
            Interrupted: The run waits; nobody is to catch this.
            InputError: Nothing would store the run.
        """
        self._questions += 1
        return await inside.ask(self._run, self._place, self._questions, message, shown)

    async def run(self, flow: Called, /, **inputs: Any) -> dict[str, Any]:
        """Run another flow within this step: which one, and how often, the step decides.

        Its events are this run's, below the step's place; what it uses counts towards this
        run's budget; its resources are those that it names, and this flow's. In a stored run
        its finished steps are stored, and count when the run is resumed, as long as the step
        calls it with equal inputs.

        Args:
            flow: A `Flow`. It may not pause for approval with `Interrupt`; its steps may.
            inputs: Its inputs.

        Returns:
            Its outputs.

        Raises:
            InputError: The inputs do not fit.
            StepError: One of its steps failed.
            BudgetError: A budget was exceeded.
        """
        self._calls += 1
        return await inside.call(self._run, self._place, self._calls, flow, inputs)

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
        self._run.notify(ModelCalled, self._place, **call, seconds=seconds, reuse=reuse)
        tokens = prompt_tokens + completion_tokens
        if self._run.tracer is not None:
            trace_call(tokens=tokens, **call)
        self._run.spent.add(0, tokens)
