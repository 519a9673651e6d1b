"""What holds for every operator."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar, get_origin

import pytest

from rag.errors import ConfigError, RagError, StepError
from rag.flow.flow import Flow
from rag.flow.memory.fingerprint import fingerprint
from rag.flow.operator import Operator
from rag.flow.registry import Registry
from rag.flow.types import matcher, show
from rag.flow.yaml.load import load_flow
from rag.testing.elsewhere import fingerprint_elsewhere


class OperatorSuite:
    """Tests of an operator. Subclass it in a test module, and give what the attributes name.

    Attributes:
        operator: The step that is tested. Its class stands at the top level of a module.
        inputs: Channel to value, for every channel that `run` requires.
        expected: Channel to what is written for `inputs`; None: anything of the declared type.
        empty: Inputs without content; None: an empty text, list or mapping for every required
            channel of such a type, and what `inputs` has for the others.
    """

    operator: ClassVar[Operator]
    inputs: ClassVar[Mapping[str, Any]]
    expected: ClassVar[Mapping[str, Any] | None] = None
    empty: ClassVar[Mapping[str, Any] | None] = None

    def resources(self) -> dict[str, Any]:
        """The resources that the operator takes, new for each run: `{"llm": ScriptedLLM()}`."""
        return {}

    def flow(self) -> Flow:
        """A flow of this one step."""
        kinds = {port.name: port.type for port in self.operator.signature().reads}
        step = self.operator
        inputs = {step.inputs.get(name, name): kind for name, kind in kinds.items()}
        given = {name: kind for name, kind in inputs.items() if name in self.inputs}
        return Flow(step, inputs=given, resources=self.resources())

    def written(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """What the operator wrote, by its declared channels."""
        outputs, ports = self.operator.outputs, self.operator.signature().writes
        return {port.name: result[outputs.get(port.name, port.name)] for port in ports}

    def given(self) -> dict[str, Any]:
        """A copy of the inputs, which a run may not share with another."""
        return copy.deepcopy(dict(self.inputs))

    def test_types_are_declared(self) -> None:
        """Every channel has a type, and the build could refuse what does not fit."""
        signature = self.operator.signature()
        assert signature.writes, f"{type(self.operator).__name__} writes nothing"
        untyped = [p.name for p in (*signature.reads, *signature.writes) if p.type is Any]
        assert not untyped, f"without a type: {', '.join(untyped)}"

    def test_it_is_documented(self) -> None:
        """The class says what it does, and each field of its configuration what it means."""
        kind = type(self.operator)
        assert kind.__doc__, f"{kind.__name__} has no docstring"
        assert kind.__doc__ != Operator.__doc__, f"{kind.__name__} has no docstring of its own"

    def test_it_writes_what_it_declares(self) -> None:
        """The values are of the declared types, and those expected."""
        written = self.written(self.flow().invoke(**self.given()))
        for port in self.operator.signature().writes:
            value = written[port.name]
            assert matcher(port.type)(value), f"{port.name} is {value!r}, not {show(port.type)}"
        if self.expected is not None:
            assert {name: written[name] for name in self.expected} == self.expected

    def test_it_runs_alike_in_an_event_loop(self) -> None:
        """`invoke` and `ainvoke` give the same."""
        plain = self.flow().invoke(**self.given())
        assert asyncio.run(self.flow().ainvoke(**self.given())) == plain

    def test_it_does_not_change_its_inputs(self) -> None:
        """Other branches read the same values: lists are copied for each, what is in them not."""
        given = self.given()
        self.flow().invoke(**given)
        changed = [name for name, value in given.items() if value != self.inputs[name]]
        assert not changed, f"changed in place: {', '.join(changed)}"

    def test_it_survives_empty_inputs(self) -> None:
        """Without content it still writes its channels, or says with a fix what is missing."""
        given = dict(self._empty() if self.empty is None else self.empty)
        try:
            written = self.written(self.flow().invoke(**given))
        except RagError as error:
            cause = error.__cause__ if isinstance(error, StepError) else error
            assert isinstance(cause, RagError), f"{given}: {cause!r}"
            assert cause.fix, f"{given}: {cause} does not say how to mend it"
            return
        for port in self.operator.signature().writes:
            assert matcher(port.type)(written[port.name])

    def _empty(self) -> dict[str, Any]:
        found = {}
        for port in self.operator.signature().reads:
            name = self.operator.inputs.get(port.name, port.name)
            if name in self.inputs:
                kind = get_origin(port.type) or port.type
                found[name] = kind() if kind in (str, list, dict, tuple) else self.inputs[name]
        return found

    def test_its_configuration_can_be_copied(self) -> None:
        """By `copy`, by `pickle`, and out of its own fields."""
        step = self.operator
        assert copy.deepcopy(step) == step
        assert pickle.loads(pickle.dumps(step)) == step  # noqa: S301 - written a moment ago
        fields = {name: getattr(step, name) for name in type(step).model_fields}
        assert type(step).model_validate(fields) == step

    def test_it_is_written_to_yaml_and_read_again(self) -> None:
        """A pipeline file holds the whole configuration."""
        step = self.operator
        required = [port.name for port in step.signature().reads if port.required]
        # Of no type: not every one has a name in a pipeline file, and most channels are no inputs.
        flow = Flow(step, inputs={step.inputs.get(name, name): Any for name in required})
        registry = Registry(allow_import=(type(step).__module__.split(".")[0],))
        assert load_flow(flow.to_yaml(), registry=registry) == flow

    def test_its_fingerprint_is_the_same_in_another_process(self) -> None:
        """Or a step cache and a stored run would never find what it wrote."""
        assert fingerprint_elsewhere(self.operator) == fingerprint(self.operator)

    def test_its_fingerprint_depends_on_its_configuration_alone(self) -> None:
        """A copy has the same, whatever name and policies it has."""
        step = self.operator
        named = step.model_copy(update={"name": "another", "timeout": 9.0})
        assert fingerprint(named) == fingerprint(step)

    def test_a_cancelled_run_leaves_nothing_behind(self) -> None:
        """No task goes on, and the same flow runs afterwards."""

        async def main() -> None:
            flow = self.flow()
            task = asyncio.create_task(flow.ainvoke(**self.given()))
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"still running: {left}"
            self.written(await flow.ainvoke(**self.given()))

        asyncio.run(main())

    def test_two_runs_at_once_do_not_disturb_each_other(self) -> None:
        """A step holds no state of a run."""
        flows = [self.flow(), self.flow()]

        async def main() -> list[dict[str, Any]]:
            return await asyncio.gather(*(flow.ainvoke(**self.given()) for flow in flows))

        one, other = asyncio.run(main())
        assert one == other

    def test_an_unknown_setting_is_refused(self) -> None:
        """A misspelt field of the configuration is an error and not ignored."""
        fields = {name: getattr(self.operator, name) for name in type(self.operator).model_fields}
        with pytest.raises(ConfigError, match="no_such_setting"):
            type(self.operator)(**fields, no_such_setting=1)  # type: ignore[call-arg]
