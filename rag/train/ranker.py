"""Training a model that finds or ranks: measured, trained, measured again, the gate, the card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rag.eval.corpus import Corpus, no_progress
from rag.flow import Flow
from rag.train.card import write_card
from rag.train.gate import Verdict, refuse
from rag.train.rankings import Rankings, compared, measured, verdicts
from rag.train.work import Work

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.train.asked import Questions


@dataclass(frozen=True)
class RankerSettings(ABC):
    """How a model that finds or ranks is trained: all in which the kinds differ.

    Attributes:
        index: What a pipeline says of its index: how the documents are split.
    """

    chunks: ClassVar[bool] = True
    """Whether its questions are about chunks: those of an index become documents that can be
    embedded anew. False: they are about documents as the index holds them."""

    index: Any = field(default_factory=lambda: {"path": "./index"}, kw_only=True)

    @abstractmethod
    def require(self) -> None:
        """Refuse to begin without the libraries that are needed.

        Raises:
            ConfigError: One of them is not installed.
        """

    @abstractmethod
    def baseline(self, questions: Questions, work: Work, report: Progress) -> str:
        """What has to be beaten, as `flow` takes it.

        Args:
            questions: Only the learned ones may choose it.
            work: Where rankings and indexes are kept.
            report: Called with what is done, how much, and of how much.
        """

    @abstractmethod
    def flow(self, corpus: Corpus, model: str) -> Flow:
        """What ranks a corpus by a model: a trained one by its path, or the baseline."""

    @abstractmethod
    def fit(
        self, questions: Questions, baseline: str, folder: Path, work: Work, report: Progress
    ) -> None:
        """Train a model.

        Args:
            questions: Of which those to learn from are.
            baseline: What has to be beaten.
            folder: Gets the model.
            work: Where indexes and checkpoints are kept.
            report: Called with what is done, how much, and of how much.

        Raises:
            ConfigError: There is nothing to learn from.
            ModelError: There is no such model.
        """

    @abstractmethod
    def card(self, name: str, baseline: str) -> tuple[str, str, str]:
        """What a model of this name is, what it was trained from, and how a pipeline names it."""

    def alone(self) -> Self | None:
        """Settings by which it is measured too, without deciding."""
        return None


def train_ranker(
    questions: Questions,
    settings: RankerSettings,
    out: Path,
    about: Mapping[str, Any],
    *,
    licence: str = "",
    force: bool = False,
    report: Progress = no_progress,
) -> list[Verdict]:
    """Train a model that finds or ranks, measure it beside its base, save it if it is better.

    Args:
        questions: What is learned, and what is measured.
        settings: What is trained, and how.
        out: The folder of the model, or of the adapter. `OUT.training` beside it holds what is
            under way; a stopped training goes on from it.
        about: For the card: what the questions were made from.
        licence: Of the data, for the card.
        force: Save it whatever it gained; the card says so.
        report: Called with what is done, how much, and of how much.

    Returns:
        What was measured.

    Raises:
        GateError: It is not surely better; nothing was saved.
        ConfigError: A library that trains is missing, `out` is there, a training with other
            settings was stopped there, or there is nothing to learn from.
        ModelError: There is no such model.
    """
    settings.require()
    everything = {**asdict(settings), **about}
    work = Work(out, {**everything, "questions": questions.digest})
    built = work.folder / "model"

    def rankings(name: str, how: RankerSettings, model: str) -> dict[str, Rankings]:
        def flow(corpus: Corpus, data: Dataset) -> Flow:
            return how.flow(corpus, model)

        return measured(name, questions, flow, work, report)

    baseline = settings.baseline(questions, work, report)
    before = rankings("before", settings, baseline)
    if not built.exists():
        part = built.with_suffix(".part")
        settings.fit(questions, baseline, part, work, report)
        part.rename(built)
    model = str(built.resolve())
    found = compared(before, rankings("after", settings, model))
    if (other := settings.alone()) is not None:
        alone = rankings("alone", other, model)
        for name, values in before.items():
            found += verdicts(f"{name}, alone", values, alone[name], gates=False)
    passed = refuse(found, force)
    title, base, use = settings.card(out.name, baseline)
    write_card(
        built, title, base, use, everything, questions.counts(), found,
        licence=licence, passed=passed,
    )  # fmt: skip
    work.finish(built)
    return found
