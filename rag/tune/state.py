"""A study as its journal tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.tune.dimensions import Config
from rag.tune.journal import Entry

Values = Mapping[str, Mapping[str, float]]
"""A question's id to measure to value; what has no value is left out."""
BASELINE = 0
"""The number of the pipeline as it is written."""


@dataclass(frozen=True)
class Trial:
    """A configuration that takes part.

    Attributes:
        number: From 1; 0 is the baseline.
        config: Its values; the baseline's are empty.
        wave: When it was proposed, from 0; the baseline's is -1.
        origin: What proposed it: `baseline`, a sampler, `reflection`.
        attrs: What the sampler wants to know of it again.
    """

    number: int
    config: Config
    wave: int
    origin: str
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Something that a worker does.

    Attributes:
        kind: `propose` configurations; `search`: put a block of questions to a trial; `holdout`:
            of those that the search never sees.
        number: Of the wave, or of the trial.
        block: Of the questions.
    """

    kind: str
    number: int
    block: int = 0

    @property
    def key(self) -> str:
        """The task as text."""
        return f"{self.kind}/{self.number}/{self.block}"


@dataclass
class State:
    """Everything known of a study.

    Attributes:
        position: Of the last entry that was read.
        start: What was agreed on in the beginning; None: it has not begun.
        trials: By number.
        waves: The trials of each wave.
        texts: Dimension of a prompt to what was proposed: name to text.
        results: Task to what was measured; None: it could not be.
        errors: Trial to why it cannot be measured.
        failed: Trial to the questions that its runs failed for, and why.
        claims: Task to the worker that last took it.
    """

    position: int = 0
    start: dict[str, Any] | None = None
    trials: dict[int, Trial] = field(default_factory=dict)
    waves: list[list[int]] = field(default_factory=list)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    results: dict[Task, Values] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    failed: dict[int, dict[str, str]] = field(default_factory=dict)
    claims: dict[Task, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trials.setdefault(BASELINE, Trial(BASELINE, {}, -1, "baseline"))

    def add(self, entries: Iterable[Entry]) -> None:
        """Take in what has happened since."""
        for entry in entries:
            self.position = entry.position
            getattr(self, f"_{entry.kind}")(entry.data)

    def done(self, task: Task) -> bool:
        """Whether a task needs no more work."""
        if task.kind == "propose":
            return len(self.waves) > task.number
        return task in self.results or task.number in self.errors

    # One for each kind of entry

    def _start(self, data: dict[str, Any]) -> None:
        self.start = self.start or data

    def _wave(self, data: dict[str, Any]) -> None:
        if data["number"] != len(self.waves):
            return  # a second worker did the same
        for one in data["trials"]:
            trial = Trial(one["number"], one["config"], data["number"], one["origin"], one["attrs"])
            self.trials[trial.number] = trial
        for name, texts in data["texts"].items():
            self.texts.setdefault(name, {}).update(texts)
        self.waves.append([one["number"] for one in data["trials"]])

    def _claim(self, data: dict[str, Any]) -> None:
        self.claims[_task(data)] = data["worker"]

    def _result(self, data: dict[str, Any]) -> None:
        self.results.setdefault(_task(data), data["values"])
        if errors := data.get("errors"):
            self.failed.setdefault(data["number"], {}).update(errors)

    def _failed(self, data: dict[str, Any]) -> None:
        self.errors.setdefault(data["number"], data["why"])


def _task(data: Mapping[str, Any]) -> Task:
    return Task(data["kind"], data["number"], data["block"])


def task_data(task: Task) -> dict[str, Any]:
    """A task as an entry has it."""
    return {"kind": task.kind, "number": task.number, "block": task.block}
