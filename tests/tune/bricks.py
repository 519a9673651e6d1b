"""A pipeline whose quality is known, questions for it, and a search that runs on paper."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.documents import Document

from rag.errors import ModelError
from rag.eval.dataset import Dataset, Query
from rag.flow import Flow, Operator, operator
from rag.tune import Settings, Space
from rag.tune.journal import Entry
from rag.tune.propose import known_of, new_configs, propose
from rag.tune.search import Plan, Search
from rag.tune.space import config_key
from rag.tune.state import BASELINE, State, Task


def chance(*parts: object) -> float:
    """A number from 0 to 1 that is the same for the same parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


@operator(writes="answer")
def guess(query: str, *, skill: float = 0.4, style: str = "plain") -> str:
    """Right as often as its skill; some questions are harder."""
    bonus = {"plain": 0.0, "bold": 0.1, "wild": -0.3}[style]
    hard = 0.7 * chance(query) + 0.3 * chance(query, skill, style)
    return "right" if hard < skill + bonus else "wrong"


@operator(writes="answer")
def broken(query: str) -> str:
    """Never answers."""
    raise ModelError("the model is not there")


@operator(writes="answer")
def moody(query: str, *, share: float = 0.5) -> str:
    """Fails for some questions, and is right for the others."""
    if chance(query) < share:
        raise ModelError("not this one")
    return "right"


@operator(writes="answer")
def echo(answer: str) -> str:
    """Gives the answer on."""
    return answer


SEARCHED: list[str] = []
"""What `Find` was asked."""


class Find(Operator):
    """A search that notes what it is asked."""

    writes = "documents"
    span_kind = "RETRIEVER"

    def run(self, query: str) -> list[Document]:
        """One document."""
        SEARCHED.append(query)
        return [Document(page_content="right")]


def data(count: int = 80) -> Dataset:
    """Questions whose right answer is `right`."""
    return Dataset(
        "toy", [], [Query(f"q{n}", f"number {n}?", {}, ("right",)) for n in range(count)]
    )


def space(**more: Any) -> Space:
    """Skill and style; the best is 0.9 and bold."""
    dimensions = {
        "steps.guess.skill": [0.1, 0.3, 0.5, 0.7, 0.9],
        "steps.guess.style": ["plain", "bold", "wild"],
        **more,
    }
    return Space(Flow(guess(), name="toy"), dimensions)


Worth = Callable[[Mapping[str, Any], str], Mapping[str, float]]
"""A configuration and a question to values."""


class Paper:
    """A study without a journal, whose values a function knows.

    Args:
        settings: How it is searched.
        worth: The values.
        questions: For the search; a quarter as many are held out.
        own: The space.
    """

    def __init__(
        self, settings: Settings, worth: Worth, questions: int = 96, own: Space | None = None
    ) -> None:
        self.space, self.settings, self.worth = own or space(), settings, worth
        ids = [f"q{number}" for number in range(questions + questions // 4)]
        size = settings.block
        self.blocks = [ids[at : at + size] for at in range(0, questions, size)]
        self.held = [ids[questions:]]
        self.search = Search(settings, self.blocks, self.held, len(self.space.dimensions))
        self.state = State()
        self.entries: list[Entry] = []

    def add(self, kind: str, data: dict[str, Any]) -> None:
        """Add an entry."""
        self.entries.append(Entry(len(self.entries) + 1, kind, data))
        self.state.add(self.entries[-1:])

    def do(self, task: Task, plan: Plan) -> None:
        """Do one task."""
        if task.kind == "propose":
            seen = {config_key(one.config) for one in self.state.trials.values()}
            found = propose(
                self.space, self.settings, known_of(self.state, plan.board),
                self.search.fresh(task.number), wave=task.number,
                fits=new_configs(self.space, seen, {}),
            )  # fmt: skip
            first = max(self.state.trials) + 1
            trials = [
                {"number": first + at, "config": one.config, "origin": one.origin,
                 "attrs": one.attrs}
                for at, one in enumerate(found)
            ]  # fmt: skip
            self.add("wave", {"number": task.number, "trials": trials, "texts": {}})
            return
        block = (self.blocks if task.kind == "search" else self.held)[task.block]
        config = self.state.trials[task.number].config
        given = config or {"steps.guess.skill": "0.3", "steps.guess.style": "plain"}
        values = {one: dict(self.worth(given, one)) for one in block}
        place = {"kind": task.kind, "number": task.number, "block": task.block}
        self.add("result", {**place, "values": values})

    def run(self, pick: Callable[[tuple[Task, ...]], Task] = lambda tasks: tasks[0]) -> Plan:
        """Work until it is over; `pick` chooses among what can be done."""
        while (plan := self.search.plan(self.state)).tasks:
            self.do(pick(plan.tasks), plan)
        return plan

    def winner(self) -> Mapping[str, Any]:
        """The configuration of the winner; empty: the baseline."""
        number = self.search.plan(self.state).front[0]
        return {} if number == BASELINE else self.state.trials[number].config
