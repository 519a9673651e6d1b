"""A study: a space, a data set, and the journal of what its workers have found."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rag.errors import ConfigError, RagError
from rag.eval.digests import flow_digest
from rag.flow import Flow
from rag.locks import FileLock
from rag.models import LLM
from rag.tune.check import check
from rag.tune.dimensions import Choice, Config
from rag.tune.evaluate import Evaluator, UnknownCostError, about, missing
from rag.tune.journal import Journal, open_journal
from rag.tune.propose import Proposal, known_of, new_configs, propose
from rag.tune.reflect import Reflection
from rag.tune.search import Plan, Search
from rag.tune.settings import Settings
from rag.tune.space import Space, config_key
from rag.tune.split import blocks_of, split
from rag.tune.state import BASELINE, State, Task, task_data

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.eval.results import AnswerResult

LEASE = 60.0
"""Seconds after which a worker of another machine that is silent has died."""
POLL = 0.2
"""Seconds until a worker looks again what others have done."""

Report = Callable[[Plan], None]


@dataclass(frozen=True)
class About:
    """What a study rests on, for those that join it.

    Attributes:
        pipeline: The file of the space; empty: it is only in Python.
        data: Where the questions are.
        text: The file's text, which must not change while the study goes on.
        options: What else a worker needs to open both, as JSON has it.
    """

    pipeline: str = ""
    data: str = ""
    text: str = ""
    options: tuple[tuple[str, Any], ...] = ()


class Study:
    """Searches a space; stops and goes on at any time, in any number of processes.

    A context manager: the journal is open within.

    Args:
        space: What may be otherwise.
        data: Questions, and the corpus if there is one.
        settings: What is looked for.
        folder: The study's: the journal, answers, indexes.
        storage: Where the journal is, if not there: `postgresql://...`.
        about: For those that join.
        concurrency: Questions answered at a time.
        progress: Called while documents are indexed.

    Raises:
        ConfigError: The study was made for something else, or cannot be made.
        BuildError: An option of the space fits into no configuration.
    """

    def __init__(
        self,
        space: Space,
        data: Dataset,
        settings: Settings,
        folder: Path,
        *,
        storage: str | None = None,
        about: About | None = None,
        concurrency: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self.space, self.data, self.settings, self.folder = space, data, settings, folder
        self.storage, self.about = storage, about or About()
        parts = split(data, settings)
        self.queries, self.held = parts
        size = settings.block
        self._search_blocks, self._held_blocks = blocks_of(self.queries, size), blocks_of(self.held)
        self.search = Search(
            settings,
            [[query.id for query in block] for block in self._search_blocks],
            [[query.id for query in block] for block in self._held_blocks],
            len(space.dimensions),
        )
        check(space)
        if not data.documents:
            _refuse_index_settings(space, data.name)
        folder.mkdir(parents=True, exist_ok=True)
        space.folder = folder / "prompts"
        self.state = State()
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        more = {} if progress is None else {"progress": progress}
        self.evaluator = Evaluator(
            data, settings, folder, space.flow, concurrency=concurrency, **more
        )
        self.journal: Journal = open_journal(folder, storage)
        try:
            self._begin()
        except BaseException:
            self.journal.close()
            raise

    def __enter__(self) -> Self:
        workers = self.folder / "workers"
        workers.mkdir(exist_ok=True)
        self._alive = FileLock(workers / f"{self.worker}.lock", remove=True)
        self._alive.acquire()
        self.evaluator.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.evaluator.__exit__(*_)
        self._alive.release()
        self.journal.close()

    # The journal

    def _begin(self) -> None:
        digest = self._digest()
        options = {"pipeline": self.about.pipeline, "data": self.about.data}
        self.refresh()
        while self.state.start is None:
            data = {"digest": digest, **options, **dict(self.about.options)}
            self.journal.add(self.state.position + 1, "start", data)
            self.refresh()
        if self.state.start["digest"] != digest:
            raise ConfigError(
                "the study is of another space, other settings or other questions",
                where=str(self.storage or self.folder),
                fix="give another --study, or what it was begun with",
            )

    def _digest(self) -> str:
        named = {
            name: [*one.options] if isinstance(one, Choice) else repr(one)
            for name, one in self.space.dimensions.items()
        }
        # Of a file its text counts, and not where it is: workers elsewhere have it elsewhere.
        own = [self.about.text, dict(self.about.options).get("params")]
        baseline = own if self.about.text else flow_digest(self.space.flow)
        parts = [baseline, named, self.settings.model_dump(mode="json"), about(self.data)]
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]

    def refresh(self) -> State:
        """Take in what others have done."""
        self.state.add(self.journal.read(self.state.position))
        return self.state

    def _add(self, kind: str, data: dict[str, Any], unless: Callable[[State], bool]) -> None:
        """Add an entry, however often others come first, unless it is of no use any more."""
        while not unless(self.refresh()):
            if self.journal.add(self.state.position + 1, kind, data):
                return

    # Working

    def plan(self) -> Plan:
        """Where the study stands."""
        return self.search.plan(self.refresh())

    def work(self, report: Report = lambda plan: None, most: int | None = None) -> Plan:
        """Do what is to be done until the study is over.

        Args:
            report: Called before each task.
            most: Tasks at most; None: all.

        Returns:
            The study's end, or where it stands.

        Raises:
            RagError: The pipeline as written cannot be measured.
        """
        done = 0
        while True:
            plan = self.plan()
            report(plan)
            if not plan.tasks or done == most:
                return plan
            task = next((one for one in plan.tasks if self._free(one)), None)
            if task is None:
                time.sleep(POLL)
                continue
            data = {**task_data(task), "worker": self.worker}
            if self.journal.add(self.state.position + 1, "claim", data):
                with self.journal.beating(self.worker, LEASE / 4):
                    self._do(task, plan)
                done += 1

    def _free(self, task: Task) -> bool:
        """Whether nobody works on a task: nobody took it, or who did has died."""
        worker = self.state.claims.get(task)
        if worker is None or worker == self.worker:
            return True
        lock = self.folder / "workers" / f"{worker}.lock"
        if lock.exists():
            held = FileLock(lock, remove=True)
            if held.acquire(blocking=False):
                held.release()
                return True
            return False
        if worker.startswith(f"{socket.gethostname()}-"):
            return True  # it ended well, and removed its lock
        silence = self.journal.silence(worker)
        return silence is None or silence > LEASE

    def _do(self, task: Task, plan: Plan) -> None:
        if task.kind == "propose":
            data = self._proposed(task.number, plan)
            self._add("wave", data, lambda state: state.done(task))
            return
        blocks = self._search_blocks if task.kind == "search" else self._held_blocks
        try:
            values, errors = self.evaluator.measure(
                task.number, lambda: self.flow(task.number), blocks[task.block],
                f"{task.kind}-{task.block}",
            )  # fmt: skip
        except RagError as error:
            if task.number == BASELINE or isinstance(error, UnknownCostError):
                raise
            why = {"number": task.number, "why": str(error)}
            self._add("failed", why, lambda state: state.done(task))
            return
        if task.number == BASELINE and task.kind == "search" and not task.block:
            self._refuse_missing(list(values.values()))
        data = {**task_data(task), "worker": self.worker, "values": values}
        if errors:
            data["errors"] = errors
        self._add("result", data, lambda state: state.done(task))

    def _refuse_missing(self, values: Sequence[Any]) -> None:
        if names := missing(values, self.settings.measures):
            raise ConfigError(
                f"no question of the first {len(values)} has a value of {names[0]!r}",
                where="tune",
                fix="choose a measure that the data set and the judge give: see docs/evaluating.md",
            )

    def flow(self, trial: int, *, state: State | None = None) -> Flow:
        """The flow of a trial."""
        found = state or self.state
        if trial == BASELINE:
            return self.space.flow
        return self.space.build(found.trials[trial].config, found.texts)

    # Proposing

    def _proposed(self, wave: int, plan: Plan) -> dict[str, Any]:
        """A wave of configurations, as an entry has it."""
        state = self.state
        seen = {config_key(one.config) for one in state.trials.values()}
        digests = {flow_digest(self.flow(one)) for one in state.trials}
        count, found = self.search.fresh(wave), list[Proposal]()
        texts = {name: dict(own) for name, own in state.texts.items()}
        new = new_configs(self.space, seen, texts)

        def fits(config: Config) -> bool:
            if not new(config):
                return False
            digest = flow_digest(self.space.build(config, texts))
            return digest not in digests and not digests.add(digest)  # type: ignore[func-returns-value]

        if wave:
            written, found = self._reflection(plan, wave).propose(
                self.search.waves - wave, max(count // 2, 1)
            )
            for name, own in written.items():
                texts.setdefault(name, {}).update(own)
            found = [one for one in found if fits(one.config)]
        else:
            written = {}
        found += propose(
            self.space, self.settings, known_of(state, plan.board), count - len(found),
            wave=wave, fits=fits, texts=texts,
        )  # fmt: skip
        number = max(state.trials) + 1
        trials = [
            {"number": number + at, "config": one.config, "origin": one.origin, "attrs": one.attrs}
            for at, one in enumerate(found)
        ]
        return {"number": wave, "trials": trials, "texts": written}

    def _reflection(self, plan: Plan, wave: int) -> Reflection:
        def answers(trial: int) -> list[AnswerResult]:
            flow, bound = self.evaluator.bound(trial, lambda: self.flow(trial))
            return [
                answer
                for at in range(plan.board.count(trial))
                for answer in self.evaluator.answers(
                    flow, bound, self._search_blocks[at], f"search-{at}"
                )
            ]

        def llm(name: str) -> LLM:
            _, bound = self.evaluator.bound(BASELINE, lambda: self.flow(BASELINE))
            return bound.resources.get(name, LLM)

        live = [self.state.trials[one] for one in plan.live]
        seed = self.settings.seed * 1000 + wave
        return Reflection(self.space, plan.board, live, self.state.texts, answers, llm, seed)


def _refuse_index_settings(space: Space, data: str) -> None:
    """An index that is there cannot be filled in another way without its documents."""
    for name, one in space.addresses.items():
        filled = one.kind == "resources" and (
            one.key == "embedder" or (one.key == "index" and one.field not in ((), ("path",)))
        )
        if filled:
            raise ConfigError(
                f"{name} needs the documents that the index is filled with", where=data,
                fix="give them: --documents DIR, or a data set with corpus.jsonl",
            )  # fmt: skip
