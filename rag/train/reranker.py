"""Training a cross-encoder: a teacher's margins, what it gains over `rerank`, and the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.eval.corpus import Corpus, no_progress
from rag.flow import Flow
from rag.models import Embedder
from rag.models.opening.find import find_model, without_adapter
from rag.operators import CrossRerank, Hybrid, Rerank
from rag.train.card import write_card
from rag.train.course import Course, fit, require_trainers
from rag.train.gate import Verdict, refuse
from rag.train.rankings import Rankings, compared, measured, verdicts
from rag.train.teachers import teacher_of
from rag.train.triples import Mining, columns, mined
from rag.train.work import Work

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset
    from rag.train.asked import Questions


@dataclass(frozen=True)
class RerankerSettings:
    """How a cross-encoder is trained.

    Attributes:
        base: The encoder that it is made from, or a cross-encoder, as a pipeline names it. An
            encoder gets a head, which is new.
        embedder: What the search and `rerank` embed with.
        index: What a pipeline says of its index: how the documents are split.
        teacher: Whose margins are learned (Margin-MSE, Hofstaetter et al. 2020, arXiv
            2010.02666); see `rag.train.teachers`. Judged texts count more than it.
        prior: Weight of `rerank`'s scores beside those of the trained model; 0: it ranks alone.
        course: Of the training.
        mining: Of the triples, and of how many documents are reranked.
    """

    base: str
    embedder: str
    index: Any = field(default_factory=lambda: {"path": "./index"})
    teacher: str = "rerank"
    prior: float = 2.0
    course: Course = field(default_factory=lambda: Course(rate=5e-5, epochs=2))
    mining: Mining = field(default_factory=lambda: Mining(each=8))


def train_reranker(
    questions: Questions,
    settings: RerankerSettings,
    out: Path,
    about: Mapping[str, Any],
    *,
    licence: str = "",
    force: bool = False,
    report: Progress = no_progress,
) -> list[Verdict]:
    """Train a cross-encoder, measure it beside `rerank`, and save it if it ranks better.

    Both rerank what `hybrid` finds. The trained model does so behind `rerank`, whose scores count
    as `settings.prior` says; how it ranks alone is reported and does not decide.

    Args:
        questions: What is learned, and what is measured.
        settings: How.
        out: The folder of the model. `OUT.training` beside it holds what is under way; a stopped
            training goes on from it.
        about: For the card: what the questions were made from.
        licence: Of the data, for the card.
        force: Save it whatever it gained; the card says so.
        report: Called with what is done, how much, and of how much.

    Returns:
        What was measured.

    Raises:
        GateError: It is not surely better than `rerank`; nothing was saved.
        ConfigError: A library that trains is missing, `out` is there, or a training with other
            settings was stopped there.
        ModelError: There is no such model.
    """
    require_trainers("rag train reranker")
    everything = {**asdict(settings), **about}
    work = Work(out, {**everything, "questions": questions.digest})
    built = work.folder / "model"

    def rankings(name: str, reranker: str = "", prior: float = 0.0) -> dict[str, Rankings]:
        def flow(corpus: Corpus, data: Dataset) -> Flow:
            return _reranked(corpus, settings, reranker, prior)

        return measured(name, questions, flow, work, report)

    before = rankings("before")
    if not built.exists():
        _train(questions, settings, work, built, report)
    model = str(built.resolve())
    found = compared(before, rankings("after", model, settings.prior))
    if settings.prior:
        alone = rankings("alone", model)
        for name, values in before.items():
            found += verdicts(f"{name}, alone", values, alone[name], gates=False)
    passed = refuse(found, force)
    step = "{use: cross_rerank" + (f", prior: {settings.prior:g}" if settings.prior else "") + "}"
    write_card(
        built, f"Reranker {out.name}", settings.base,
        f"A cross-encoder trained from `{settings.base}`. In a pipeline: `reranker: ./{out.name}` "
        f"among the resources, and `{step}` behind `{{use: rerank}}`. It was measured over the "
        f"first {settings.mining.depth} documents of `hybrid`, against `rerank`.",
        everything, questions.counts(), found, licence=licence, passed=passed,
    )  # fmt: skip
    work.finish(built)
    return found


def _reranked(corpus: Corpus, settings: RerankerSettings, reranker: str, prior: float) -> Flow:
    """What `hybrid` finds, reranked; by the trained model too if there is one."""
    depth = settings.mining.depth
    steps: Any = Hybrid(k=depth) >> Rerank(k=depth, depth=depth)
    resources = {"index": settings.index, "embedder": settings.embedder}
    if reranker:
        steps = steps >> CrossRerank(k=depth, depth=depth, prior=prior)
        resources["reranker"] = reranker
    return corpus.bind(Flow(steps, name="rerank", inputs={"query": str}, resources=resources))


def _train(
    questions: Questions, settings: RerankerSettings, work: Work, built: Path, report: Progress
) -> None:
    import sentence_transformers
    import torch
    from sentence_transformers.cross_encoder import losses

    files = without_adapter(find_model(settings.base, Path()))
    learned = questions.learned
    with Corpus(learned, work.folder / "indexes", report) as corpus:
        flow = _reranked(corpus, settings, "", 0.0)
        teacher = teacher_of(settings.teacher, flow.resources.get("embedder", Embedder))
        triples = mined(
            flow, learned, settings.mining, teacher, spread=1.0,
            progress=lambda done, total: report("negatives", done, total),
        )  # fmt: skip
    torch.manual_seed(settings.course.seed)
    model = sentence_transformers.CrossEncoder(files.location, num_labels=1)
    fit(
        "CrossEncoder", model, losses.MarginMSELoss(model), columns(triples, margins=True),
        settings.course, work.folder / "checkpoints",
        lambda done, total: report("training", done, total),
    )  # fmt: skip
    part = built.with_suffix(".part")
    model.save_pretrained(str(part), create_model_card=False)
    part.rename(built)
