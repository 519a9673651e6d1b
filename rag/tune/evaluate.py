"""What a configuration is worth on some questions, in the measures of `rag eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from rag.errors import ConfigError, StepError
from rag.eval.answer_cache import AnswerCache
from rag.eval.answers import COST, QUALITY, ask_all
from rag.eval.corpus import Corpus, Progress, no_progress
from rag.eval.digests import answers_digest
from rag.eval.ranking import MEASURES as RANKING
from rag.eval.ranking import rank_all
from rag.eval.retrieval_part import retrieval_part
from rag.eval.support import Judge
from rag.flow import Cache, Flow, Node, Operator
from rag.flow.memory.fingerprint import Unstable, fingerprint
from rag.flow.memory.step_cache import NAME, StepCache
from rag.locks import FileLock
from rag.models import LLM, NLI
from rag.tune.state import Values

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset, Query
    from rag.eval.results import AnswerResult
    from rag.flow import Resource
    from rag.tune.settings import Settings

SHARED = ("RETRIEVER", "RERANKER")
"""What steps do whose results trials share: the same question is searched for once."""

JUDGED = ("correctness", "faithfulness", "citation_recall", "citation_precision")
"""Measures of an answer that a failed run has no value of: it counts as the worst."""


class UnknownCostError(ConfigError):
    """A model has no price, or no idealized runtime: no trial with it can be compared."""


class Measured(NamedTuple):
    """What a trial is worth on some questions.

    Attributes:
        values: By question.
        errors: Question to why its run failed.
    """

    values: Values
    errors: Mapping[str, str]


class Evaluator:
    """Puts questions to flows, and keeps the answers.

    A context manager: indexes and models are open within.

    Args:
        data: With the corpus, if there is one.
        settings: What is measured, and who judges.
        folder: Keeps answers and indexes, one index for each way to fill it.
        judge: Whose resources judge, where a model does.
        concurrency: Questions answered at a time.
        progress: Called while documents are indexed.
    """

    def __init__(
        self,
        data: Dataset,
        settings: Settings,
        folder: Path,
        judge: Flow,
        *,
        concurrency: int = 1,
        progress: Progress = no_progress,
    ) -> None:
        self._data, self._settings, self._folder = data, settings, folder
        self._judging, self._concurrency = judge, concurrency
        self._stack = ExitStack()
        self._corpus = Corpus(data, folder / "indexes", progress)
        self._steps = StepCache()
        self._bound: dict[int, tuple[Flow, Flow]] = {}
        self._judge: Judge | None = None

    def __enter__(self) -> Self:
        (self._folder / "answers").mkdir(parents=True, exist_ok=True)
        (self._folder / "indexes").mkdir(exist_ok=True)
        self._stack.enter_context(self._corpus)
        self._stack.callback(self._steps.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def bound(self, trial: int, make: Callable[[], Flow]) -> tuple[Flow, Flow]:
        """A trial's flow as it is, and over the corpus.

        Raises:
            RagError: The flow does not fit together, or what it names cannot be opened.
        """
        if trial not in self._bound:
            flow = make()
            wanted = flow if self._settings.answers else retrieval_part(flow)
            # One process at a time fills an index that several trials share.
            with FileLock(self._folder / "indexes" / ".lock"):
                bound = self._corpus.bind(wanted)
            if "seconds" not in self._settings.measures:
                bound = sharing(bound, self._steps)
            self._stack.callback(flow.close)
            self._bound[trial] = (flow, bound)
        return self._bound[trial]

    def measure(
        self, trial: int, make: Callable[[], Flow], queries: Sequence[Query], name: str
    ) -> Measured:
        """A trial's values on questions.

        Args:
            trial: Its number.
            make: Builds its flow.
            queries: The questions.
            name: Of these questions: their answers' file.

        Raises:
            RagError: The flow cannot be measured.
            StepError: It failed for all of the questions.
        """
        values: dict[str, dict[str, float]] = {query.id: {} for query in queries}
        errors: dict[str, str] = {}
        flow, bound = self.bound(trial, make)
        if self._settings.answers:
            for one in self.answers(flow, bound, queries, name):
                values[one.id].update(values_of(one, self._settings))
                if one.error is not None:
                    errors[one.id] = one.error
        if self._settings.ranks:
            ranked = rank_all(bound, replace(self._data, queries=list(queries)))
            for row in ranked:
                wanted = [name for name in self._settings.measures if name in RANKING]
                values[row.id].update({name: getattr(row, name) for name in wanted})
        return Measured(values, errors)

    def answers(
        self, flow: Flow, bound: Flow, queries: Sequence[Query], name: str
    ) -> list[AnswerResult]:
        """A flow's answers, those that are kept and new ones."""
        judge = self.judge(bound)
        digest = answers_digest(flow, self._data, judge.digest)
        file = self._folder / "answers" / f"{digest}-{name}.jsonl"
        cache = AnswerCache(file, digest, queries)
        found = ask_all(bound, queries, judge, cache=cache, concurrency=self._concurrency)
        if found and all(one.error is not None for one in found):
            file.unlink(missing_ok=True)  # it may be the network's fault
            raise StepError(f"it fails for all of {len(found)} questions: {found[0].error}")
        return found

    def judge(self, bound: Flow) -> Judge:
        """What judges the answers; a model is opened when the first is judged.

        Raises:
            ConfigError, ModelError: The model that judges cannot be opened.
        """
        if self._judge is None:
            kind = self._settings.judge
            models: dict[str, type[Resource]] = {"llm": LLM, "nli": NLI}
            # The pipeline as written judges, so that no trial judges itself.
            own = self._judging
            if kind in models:
                own.resources.get(kind, models[kind])
                self._stack.callback(own.close)
            self._judge = Judge(kind, own.resources)
        return self._judge


def values_of(result: AnswerResult, settings: Settings) -> dict[str, float]:
    """The measures of an answer that have a value.

    A run that failed is a wrong answer, and what it would have cost is not known.

    Raises:
        UnknownCostError: A model has no price, or was not calibrated.
    """
    costs = () if result.error is not None else COST
    names = [name for name in settings.measures if name in (*QUALITY, *costs)]
    found = {name: getattr(result, name) for name in names}
    if result.error is not None:
        found |= {name: 0.0 for name, value in found.items() if value is None and name in JUDGED}
    elif "runtime" in found and found["runtime"] is None:
        models = sorted({one.model for one in result.calls})
        raise UnknownCostError(
            f"there is no idealized runtime of {', '.join(models)}", where="runtime",
            fix="rag calibrate runtime -c FILE, once for each model on this machine",
        )  # fmt: skip
    elif "cost" in settings.measures:
        found["cost"] = _cost(result, settings)
    return {name: float(value) for name, value in found.items() if value is not None}


def _cost(result: AnswerResult, settings: Settings) -> float:
    total = 0.0
    for use in result.calls:
        price = settings.prices.get(use.model)
        if price is None:
            raise UnknownCostError(
                f"there is no price for {use.model!r}", where="tune.prices",
                fix=f"write prices: {{{use.model}: {{prompt: 0.1, completion: 0.4}}}}",
            )  # fmt: skip
        total += use.prompt_tokens * price.prompt + use.completion_tokens * price.completion
    return total / 1e6


def sharing(flow: Flow, cache: StepCache) -> Flow:
    """The flow, its searches and rerankers taking results of other trials from a step cache.

    Steps that ask a language model are left alone: what they cost would be missing.
    """

    def again(node: Node) -> Node:
        children = {edge: again(child) for edge, child in node.children().items()}
        if isinstance(node, Operator):
            return node.model_copy(update={"cache": Cache()}) if _shared(node) else node
        changed = {e: c for e, c in children.items() if c is not node.children()[e]}
        return node.with_children(changed) if changed else node

    return flow.with_node(again(flow.node)).with_resources(**{NAME: cache})


def _shared(step: Operator) -> bool:
    if step.span_kind not in SHARED or step.cache is not None:
        return False
    if any(issubclass(port.type, LLM) for port in step.signature().resources):
        return False
    try:
        fingerprint(step)
    except Unstable:
        return False
    return True


def missing(values: Iterable[Mapping[str, float]], measures: Sequence[str]) -> list[str]:
    """The measures that no question has a value of."""
    rows = list(values)
    return [name for name in measures if not any(name in row for row in rows)]


def about(data: Dataset) -> list[Any]:
    """What a study depends on of a data set: its corpus and its questions."""
    return [data.digest, [asdict(query) for query in data.queries]]
